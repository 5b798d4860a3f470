"""A training node reuses what an earlier run finished, to the bit, and trains what depends on something else."""

import hashlib
import shutil
from contextlib import contextmanager
from dataclasses import astuple

import numpy as np
import pandas as pd
import pytest
from dataset_kinds import version
from tiny import photographs, same, store_of

from transferlab.config.parse import read
from transferlab.config.schema import Training
from transferlab.core.launch import inline
from transferlab.core.strategies.strategy import Strategy
from transferlab.core.training.state import StateError, StateFile
from transferlab.datasets.checkpoints import TrialsDataset
from transferlab.datasets.document import JSONDataset
from transferlab.datasets.finished import FinishedTrialsDataset
from transferlab.datasets.table import TableDataset
from transferlab.pipelines.transfer import jobs, nodes
from transferlab.pipelines.transfer.reuse import joined

STATISTICS = {"classes": ["red", "blue"], "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
FILES = {
    "checkpoints": (TrialsDataset, "checkpoints"),
    "history": (TableDataset, "history.csv"),
    "steps": (TableDataset, "steps.parquet"),
    "cost": (TableDataset, "cost.csv"),
    "fingerprints": (JSONDataset, "fingerprints.json"),
}


class Node:
    """The training node of a strategy, with its datasets in a folder; a run's version is its number."""

    def __init__(self, root, images, trained):
        self.root, (self.index, self.store), self.trained, self.runs = root, images, trained, 0
        (root / "states").mkdir()

    def run(self, epochs=2, views=None, **training):
        """Train; return the trials that were trained, and what was returned."""
        stage = {"epochs": epochs, "optimizer": {"name": "sgd", "lr": 0.01}, "batch_size": 4, "views": views}
        stage |= {"augmentation": [{"name": "random_flip"}], "trainable": "head" if views else "all"}
        model = {"model": {"name": "timm/test_resnet"}, "input": {"size": 32, "resize": 36}}
        strategy = read(Strategy, {**model, "stages": {"tune": stage}})
        common = read(Training, {"trials": 2, "compute": {"device": "cpu", "threads": 1}, **training})
        initial, _ = nodes.build_model(strategy, common, STATISTICS)
        stores = {initial.header.view.stored_as.key: self.store}
        finished = FinishedTrialsDataset(
            **{name: {"filepath": str(self.root / file)} for name, (_, file) in FILES.items()}
        )
        self.trained.clear()
        places = self.index, stores, self.root / "features"
        earlier = {"tiny.unfinished_trials": self.root / "states", "tiny.finished_trials": finished.load()}
        own = {"params:strategies.tiny": strategy, "tiny.initial_model": initial, "earlier_trials": earlier}
        is_queued = common.compute.launcher == "ray"
        queue = nodes.queue_trials(["tiny"], common, "accuracy", *places, **own) if is_queued else {}
        made = nodes.train("tiny", strategy, common, "accuracy", initial, *places, earlier, queue)
        self.runs += 1
        for (kind, file), data in zip(FILES.values(), made, strict=True):
            version(kind, self.root / file, f"2026-01-0{self.runs}T00.00.00.000Z").save(data)
        for state in (self.root / "states").iterdir():
            state.unlink()
        return set(self.trained), made

    def saved(self, name, number):
        return self.root / FILES[name][1] / f"2026-01-0{number}T00.00.00.000Z" / FILES[name][1]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    pictures, labels_N = photographs(12)
    sha256 = [hashlib.sha256(image.tobytes()).hexdigest() for image in pictures]
    split = np.where(np.arange(12) < 8, "train", "validation")
    index = pd.DataFrame({"label": labels_N, "split": split, "pixel_sha256": sha256})
    return index, store_of(tmp_path_factory.mktemp("images") / "store", pictures)


@pytest.fixture
def node(tmp_path, images, monkeypatch):
    trained = []

    @contextmanager
    def trials(*_):
        yield lambda at: trained.append(at.trial)

    monkeypatch.setattr(jobs.progress, "trials", trials)
    return Node(tmp_path, images, trained)


def equal(one, other):
    """Whether two results of the node are the same to the bit."""
    assert one[0].keys() == other[0].keys()
    for trial, checkpoint in one[0].items():
        assert checkpoint.header == other[0][trial].header
        assert same(checkpoint.tensors, other[0][trial].tensors)
    for mine, theirs in zip(one[1:4], other[1:4], strict=True):
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True, check_dtype=False)
    return one[4] == other[4]


def test_a_finished_strategy_is_reused_to_the_bit_until_something_changes(node, caplog):
    caplog.set_level("INFO")
    trained, first = node.run()
    assert trained == {0, 1}
    trained, again = node.run()
    assert trained == set(), "no epoch"
    assert equal(first, again)
    assert "tiny: finished at 2026-01-01T00.00.00.000Z, reused" in caplog.text
    for name in ("history", "cost", "steps"):
        assert node.saved(name, 1).read_bytes() == node.saved(name, 2).read_bytes()
    for trial in (0, 1):
        ours, theirs = (node.saved("checkpoints", number) / f"trial_{trial}.safetensors" for number in (1, 2))
        assert ours.read_bytes() == theirs.read_bytes()

    assert node.run(epochs=1)[0] == {0, 1}
    assert "tiny: trained anew; what was finished at 2026-01-02" in caplog.text
    assert "strategies.tiny.stages.tune.epochs was 2, now 1" in caplog.text
    trained, back = node.run()
    assert trained == set(), "an older version will do"
    assert equal(first, back)
    assert node.run(fresh=True)[0] == {0, 1}


def test_more_trials_train_those_that_are_new_and_fewer_none(node, caplog):
    caplog.set_level("INFO")
    _, two = node.run()
    trained, three = node.run(trials=3)
    assert trained == {2}
    assert "2 of 3 trials finished at 2026-01-01T00.00.00.000Z, reused" in caplog.text
    assert [list(table["trial"].unique()) for table in three[1:4]] == [[0, 1, 2]] * 3
    trained, again = node.run(trials=2)
    assert trained == set()
    assert equal(two, again)


def test_in_the_queue_of_a_cluster_are_the_trials_that_are_left_and_the_node_waits_for_them(node, monkeypatch):
    begun = []

    def queued(strategies, folder, states, report):
        """A queue that trains here, what it was given when it began."""
        begun.extend(spec for specs in strategies for spec in specs)

        def launch(specs, *where):
            assert not any(spec.initial.tensors for spec in specs), "they are in memory once"
            return inline.launch([given for given in begun if given.trial in {spec.trial for spec in specs}], *where)

        return launch

    monkeypatch.setattr(jobs, "queued", queued)
    node.run()
    trained, made = node.run(trials=3, compute={"device": "cpu", "threads": 1, "launcher": "ray"})
    assert [spec.trial for spec in begun] == [2]
    assert trained == {2}
    alone = node.run(trials=3, fresh=True)[1]
    assert all(same(made[0][trial].tensors, alone[0][trial].tensors) for trial in range(3))


def test_heads_that_trained_together_are_reused_together_or_not_at_all(node):
    assert node.run(views=1)[0] == {0, 1}
    assert node.run(views=1)[0] == set()
    assert node.run(views=1, trials=3)[0] != set()
    assert len(node.run(views=1, trials=3)[1][0]) == 3


def test_another_number_of_threads_is_told_and_trains_anew(node, caplog):
    caplog.set_level("INFO")
    node.run(compute={"device": "cpu", "threads": 2})
    assert node.run()[0] == {0, 1}
    assert "begun with 2 threads, now 1" in caplog.text


def test_passes_that_batch_norm_sees_are_told_and_train_anew_and_others_do_not(node, caplog):
    caplog.set_level("INFO")
    few = {"device": "cpu", "threads": 1, "micro_batch": 2}
    node.run()
    assert node.run(compute=few)[0] == {0, 1}
    assert "micro_batch (BatchNorm of stage tune) was None, now 2" in caplog.text
    node.run(views=1)
    assert node.run(views=1, compute=few)[0] == set(), "BatchNorm is frozen"


def test_a_trial_that_has_a_state_goes_on_with_it_and_fresh_removes_it(node):
    node.run()
    state = node.root / "states" / "trial_1.pt"
    fingerprint = {"strategy": "tiny", "trial": 1}
    StateFile(state, fingerprint).write({"weights": {}, "records": []}, 1)
    with pytest.raises(StateError, match=r"begun with other settings"):
        node.run()
    assert node.run(fresh=True)[0] == {0, 1}
    assert not state.exists()


@pytest.mark.parametrize("name", ["checkpoints", "history", "fingerprints"])
def test_what_is_lost_or_damaged_is_trained_anew_with_a_warning(node, name, caplog):
    _, first = node.run()
    file = node.saved(name, 1)
    if name == "checkpoints":
        file = file / "trial_1.safetensors"
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif name == "history":
        file.unlink()
    else:
        file.write_text("{")
    trained, again = node.run()
    assert trained == {0, 1}
    assert "2026-01-01T00.00.00.000Z cannot be reused" in caplog.text
    assert [astuple(one.header) for one in again[0].values()] == [astuple(one.header) for one in first[0].values()]


def test_a_table_without_any_row_can_be_read_again(tmp_path):
    """As the history of a strategy that trains nothing, without held-out images."""
    for name, table in joined(None, {})[1].items():
        dataset = TableDataset(filepath=str(tmp_path / f"{name}.csv"))
        dataset.save(table)
        assert list(dataset.load().columns) == list(table.columns) != []


def test_a_version_without_its_checkpoints_is_passed_over(node):
    node.run()
    shutil.rmtree(node.saved("checkpoints", 1))
    assert node.run()[0] == {0, 1}
