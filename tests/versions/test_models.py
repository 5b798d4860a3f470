"""What MODEL means: two strategies with real checkpoints and tables, in a real catalog."""

from dataclasses import replace

import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset, Version
from kedro.pipeline import node, pipeline
from tiny import STATISTICS

from transferlab.core.errors import MendableError
from transferlab.core.models import factory
from transferlab.core.models.backbones.model import Model as Network
from transferlab.core.transforms.input import Input
from transferlab.datasets.checkpoints import TrialsDataset
from transferlab.datasets.table import TableDataset
from transferlab.versions.catalogue import Versions
from transferlab.versions.models import Model, ModelError, find_model, pixels_trained_on
from transferlab.versions.publish import publish
from transferlab.versions.published import PublishError

OLD, NEW, NEWEST = (f"2026-01-0{day}T00.00.00.000Z" for day in (1, 2, 3))
STRATEGIES = ("scratch", "fine_tuning")
TABLES = ("metrics", "predictions")
PIPELINE = pipeline(
    [
        *(node(lambda x: x, "photos", f"{s}.checkpoints", name=f"{s}_train") for s in STRATEGIES),
        *(node(lambda x: x, f"{s}.checkpoints", f"{s}.{t}", name=f"{s}_{t}") for s in STRATEGIES for t in TABLES),
        *(node(lambda x: x, "photos", t, name=t) for t in ("comparison", "cost", "index")),
    ]
)
INITIAL = factory.initial(Network(name="timm/test_resnet"), Input(size=32, resize=36), ["a", "b"], STATISTICS, 0)


class Runs:
    """What runs have left in a folder."""

    def __init__(self, root):
        self.root = root

    def dataset(self, name, version=None):
        if name == "index":
            return TableDataset(filepath=str(self.root / "index.parquet"))
        kind = TrialsDataset if name.endswith("checkpoints") else TableDataset
        path = self.root / name.replace(".", "/")
        return kind(filepath=str(path if kind is TrialsDataset else f"{path}.csv"), version=Version(None, version))

    def versions(self):
        return Versions(DataCatalog({name: self.dataset(name) for name in PIPELINE.all_outputs()}), PIPELINE)

    def find(self, wanted, together=True):
        return find_model(wanted, self.versions(), "shapes", together)

    def train(self, strategy, version, trials=2):
        of = {t: replace(INITIAL, header=replace(INITIAL.header, strategy=strategy, trial=t)) for t in range(trials)}
        self.dataset(f"{strategy}.checkpoints", version).save(of)

    def evaluate(self, strategy, version, checkpoints, right=(3, 4)):
        """Four test images, of which each trial has so many right."""
        shared = {"strategy": strategy, "run_id": version, "checkpoint_version": checkpoints, "split": "test"}
        metrics = [{**shared, "metric": "accuracy", "value": hits / 4} for hits in right]
        self.dataset(f"{strategy}.metrics", version).save(pd.DataFrame(metrics))
        rows = [
            {"strategy": strategy, "trial": t, "path": f"{n}.png", "truth": "a", "p_a": p, "p_b": 1 - p}
            for t, hits in enumerate(right)
            for n in range(4)
            for p in [0.9 if n < hits else 0.1]
        ]
        self.dataset(f"{strategy}.predictions", version).save(pd.DataFrame(rows))

    def compare(self, version):
        row = {"metric": "accuracy", "decides": True, "margin": float("nan"), "standing": "may be best",
               "behind_at_most": 0.1}  # fmt: skip
        comparison = pd.DataFrame([{"strategy": s, "mean": 0.9, **row} for s in STRATEGIES])
        self.dataset("comparison", version).save(comparison)
        cost = {"strategy": list(STRATEGIES), "seconds": [9.0, 3.0], "feature_seconds": [0.0, 0.0]}
        self.dataset("cost", version).save(pd.DataFrame(cost))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two whole runs, and then `fine_tuning` trained once more and not evaluated."""
    runs = Runs(tmp_path_factory.mktemp("runs"))
    for version in (OLD, NEW):
        for strategy in STRATEGIES:
            runs.train(strategy, version)
            runs.evaluate(strategy, version, version)
        runs.compare(version)
    runs.train("fine_tuning", NEWEST)
    return runs


def chosen(model):
    return model.strategy, model.version, [checkpoint.header.trial for checkpoint in model.checkpoints]


def test_the_interval_of_accuracy_is_that_of_the_experiments_groups_and_splits(tmp_path):
    runs = Runs(tmp_path)
    runs.train("scratch", OLD)
    runs.evaluate("scratch", OLD, OLD, right=(2, 2))
    index = pd.DataFrame({"path": [f"{n}.png" for n in range(4)], "group": "", "split": "test"})
    alone = runs.find("scratch").accuracy
    runs.dataset("index").save(index)
    assert runs.find("scratch").accuracy == alone
    runs.dataset("index").save(index.assign(group=["of one"] * 2 + ["of the other"] * 2))
    grouped = runs.find("scratch").accuracy
    assert grouped.mean == alone.mean
    assert grouped.low < alone.low < alone.high < grouped.high, "two groups tell less than four photographs"
    runs.dataset("index").save(index.assign(path="another.png", group="of one"))
    assert runs.find("scratch").accuracy == alone


def test_the_pixels_that_a_model_was_trained_on_are_those_of_its_trials_in_its_index(tmp_path):
    def dataset(version=None):
        return TableDataset(filepath=str(tmp_path / "index.csv"), version=Version(None, version))

    splits = {"split": ["train", "test", "test"], "split_1": ["test", "train", "test"]}
    dataset(OLD).save(pd.DataFrame({"path": ["1", "2", "3"], "pixel_sha256": ["a", "b", "c"], **splits}))
    dataset(NEWEST).save(pd.DataFrame({"path": ["4"], "pixel_sha256": ["d"], "split": ["train"]}))
    index = pipeline([node(lambda x: x, "photos", "index", name="index")])
    versions = Versions(DataCatalog({"index": dataset()}), index)
    network = Model((INITIAL,), "scratch", strategy="scratch", version=NEW, trials=(0, 1))
    assert pixels_trained_on(network, versions) == {"a", "b"}, "the index before it is its own"
    assert pixels_trained_on(replace(network, trials=(1,)), versions) == {"b"}
    assert pixels_trained_on(replace(network, version=NEWEST, trials=(0,)), versions) == {"d"}
    assert pixels_trained_on(replace(network, version="2025-12-31T00.00.00.000Z"), versions) is None
    assert pixels_trained_on(replace(network, version=None, strategy=None), versions) is None


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("recommended", ("fine_tuning", NEW, [0, 1])),  # the cheapest, in the version that was compared
        ("recommended/trial_1", ("fine_tuning", NEW, [0])),
        ("fine_tuning", ("fine_tuning", NEWEST, [0, 1])),
        ("scratch", ("scratch", NEW, [0, 1])),
        (f"scratch@{OLD}", ("scratch", OLD, [0, 1])),
        ("scratch/trial_2", ("scratch", NEW, [1])),
        (f"scratch@{OLD}/trial_2", ("scratch", OLD, [1])),
    ],
)
def test_a_name_means_checkpoints(runs, wanted, expected):
    assert chosen(runs.find(wanted)) == expected


def test_the_choice_is_one_line_with_reason_cost_and_accuracy(runs):
    told = str(runs.find("recommended"))
    assert "\n" not in told
    assert told.startswith(f"Model: fine tuning@{NEW} (recommended: the cheapest of the 2 that may be the best)")
    assert "the mean of 2 trials, at 2 times the cost of one" in told
    assert "test accuracy 87.5% [" in told
    assert "(4 test images, mean of 2 single trials)" in told
    assert "test accuracy 75.0% [" in str(runs.find("scratch/trial_1"))
    assert "test accuracy 100.0% [" in str(runs.find("scratch/trial_2"))
    assert "test accuracy unknown" in str(runs.find("fine_tuning"))


def test_single_takes_the_first_trial_and_says_so(runs):
    model = runs.find("scratch", together=False)
    assert chosen(model) == ("scratch", NEW, [0])
    assert f"scratch@{NEW}, trial 1; test accuracy 75.0%" in str(model)


def test_a_checkpoint_file_from_anywhere(runs, tmp_path):
    file = tmp_path / "own.safetensors"
    file.write_bytes(INITIAL.to_bytes())
    model = runs.find(str(file))
    assert (model.name, len(model.checkpoints), model.accuracy) == (str(file), 1, None)
    (tmp_path / "torn.safetensors").write_bytes(file.read_bytes()[:100])
    with pytest.raises(MendableError, match=r"torn.safetensors: not a checkpoint"):
        runs.find(str(tmp_path / "torn.safetensors"))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("fine_tunin", "'fine_tunin' is no strategy of shapes and no file; did you mean 'fine_tuning'"),
        ("scratch@2026", f"scratch has no version '2026'; (there are|did you mean).*{OLD}"),
        ("scratch/trial_3", "has no trial_3; there are trial_1, trial_2"),
        ("scratch/trial_0", "has no trial_0"),
        ("gone.safetensors", "no strategy of shapes and no file"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(runs, wanted, message):
    with pytest.raises(ModelError, match=message) as raised:
        runs.find(wanted)
    assert "\n" not in str(raised.value)


def test_before_any_run_the_command_that_trains_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"no finished trials yet: train first: `.*run --env=shapes --pipeline"):
        Runs(tmp_path).find("recommended")
    with pytest.raises(ModelError, match=r"scratch has no finished trials: train first: `.*--namespaces=scratch`"):
        Runs(tmp_path).find("scratch")


def test_without_a_comparison_none_of_several_is_recommended(tmp_path):
    runs = Runs(tmp_path)
    runs.train("scratch", OLD)
    assert chosen(runs.find("recommended")) == ("scratch", OLD, [0, 1]), "the only one"
    runs.train("fine_tuning", OLD)
    with pytest.raises(ModelError, match=r"no comparison.*--pipeline=report.*name one of fine_tuning, scratch"):
        runs.find("recommended")


def test_a_published_version_is_a_model_by_its_url(tmp_path):
    runs = Runs(tmp_path / "runs")
    runs.train("scratch", OLD)
    runs.evaluate("scratch", OLD, OLD)
    versions = runs.versions()
    versions._name = MemoryDataset("shapes")
    (url,) = publish(versions, (tmp_path / "published").as_uri())
    local = runs.find(f"scratch@{OLD}")
    for wanted in (url, f"{url}/scratch"):
        found = runs.find(wanted)
        assert (len(found.checkpoints), found.accuracy, found.strategy) == (2, local.accuracy, None)
        assert found.name == f"scratch@{OLD} of {wanted}"
    (one,) = runs.find(f"{url}/scratch/trial_2").checkpoints
    assert one.header.trial == 1
    with pytest.raises(PublishError, match=r"has no strategy 'scrath'; did you mean 'scratch'"):
        runs.find(f"{url}/scrath")
    with pytest.raises(PublishError, match="no version is published there"):
        runs.find((tmp_path / "gone").as_uri())
