"""Trials trained by several processes, really started, on the CPU; each start costs seconds, so each test asks much."""

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from dataclasses import replace

import psutil
import pytest
import torch
from tiny import COMPUTE, FLIP_AND_CROP, machine, same, spec_of, split_of, stage, strategy, untimed

from transferlab.core.data.store import ImageStore
from transferlab.core.launch.channel import RankError, how_ended
from transferlab.core.launch.elastic import train_on_devices
from transferlab.core.loading.images import Images
from transferlab.core.models import factory
from transferlab.core.runtime.memory import DeviceMemoryError
from transferlab.core.strategies.optimizers import SGD
from transferlab.core.strategies.schedules import Plateau
from transferlab.core.training import distributed, scores, state
from transferlab.core.training.engine import DivergedError
from transferlab.core.training.learners import OneNetwork
from transferlab.core.training.trial import train_trial

# All but BatchNorm, which would see its rank's images alone.
ALL_BUT_NORM = ((r"(.*bn\d|.*downsample\.2|conv1\.[14])\..*", None), (".*", 1.0))
STAGES = {
    "head": stage(trainable="head", optimizer=SGD(lr=0.2), augmentation=FLIP_AND_CROP, views=2),
    "tune": stage(epochs=3, trainable=ALL_BUT_NORM, augmentation=FLIP_AND_CROP, ema=0.9, class_weights={"red": 2.0}),
}
CLOSE = {"rel": 1e-5, "abs": 1e-6}  # sums in float32 in another order, over fifteen steps


class Watched(ImageStore):
    """A store that writes down which rank asks for which images, and may do something at rank 1's n-th request."""

    def __init__(self, folder, log, at=0, act=print):
        super().__init__(folder)
        self.log, self.at, self.act, self.requests = log, at, act, 0

    def __reduce__(self):
        return arrived, (self.folder, self.log, self.at, self.act)

    def batch(self, indices):
        rows = [int(row) for row in indices]
        with self.log.open("a") as log:
            log.write(json.dumps([distributed.number(), rows]) + "\n")
        self.requests += distributed.number() == 1
        if self.requests == self.at and distributed.number() == 1:
            self.act()
        return super().batch(rows)

    def asked(self):
        """Images asked for, by rank, and the log is empty again."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        self.log.write_text("")
        return [Counter(row for rank, rows in lines if rank == number for row in rows) for number in range(3)]


def arrived(*args):
    """A store in another process, where no fixture of this one reaches: states are written after every epoch."""
    state.SECONDS_BETWEEN_STATES = 0.0
    return Watched(*args)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def hang():
    time.sleep(600)


def run_out():
    raise torch.OutOfMemoryError("CUDA out of memory.")


def on(devices, **compute):
    return replace(COMPUTE, devices=devices, **compute)


def watched(spec, folder, **what):
    split = replace(spec.train, store=Watched(spec.train.store.folder, folder / "log", **what))
    return replace(spec, train=split)


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    # Batches of 4, 4 and 2, and 2 validation images: three ranks have unequal shares, and empty ones.
    folder = tmp_path_factory.mktemp("images")
    splits = split_of(folder / "train", 10), split_of(folder / "validation", 2, "validation", seed=1)
    return spec_of(strategy(select="best", **STAGES), *splits)


@pytest.fixture(scope="module")
def three(spec, tmp_path_factory):
    """What three processes make of it, the progress they told, and the store that watched them."""
    folder, told = tmp_path_factory.mktemp("three"), []
    store = Watched(spec.train.store.folder, folder / "log")
    spec = replace(spec, compute=on(3, micro_batch=1), train=replace(spec.train, store=store))
    return train_on_devices(spec, folder / "features", told.append), told, store.asked()


@pytest.fixture(scope="module")
def one(spec, tmp_path_factory):
    told = []
    return train_trial(spec, tmp_path_factory.mktemp("one"), told.append), told


def column(rows, name):
    return [getattr(row, name) for row in rows]


def test_three_processes_train_as_one_does(one, three):
    # On features of a frozen prefix, then all layers; an image a pass, and with empty shares.
    one, three = one[0], three[0]
    assert column(three.history, "loss") == pytest.approx(column(one.history, "loss"), **CLOSE)
    assert column(three.steps, "loss") == pytest.approx(column(one.steps, "loss"), **CLOSE)
    for name in ("stage", "epoch", "split", "accuracy", "learning_rate"):
        assert column(three.history, name) == column(one.history, name)
    for name, tensor in one.checkpoint.tensors.items():
        assert torch.allclose(tensor, three.checkpoint.tensors[name], rtol=1e-4, atol=1e-6), name
    assert [result.cost.devices for result in (one, three)] == [1, 3]


def test_progress_of_one_of_them_is_told_here(one, three):
    one, three = one[1], three[1]
    of_one, of_three = ([replace(at, loss=None) for at in told if at.doing is None] for told in (one, three))
    assert of_three == of_one
    assert [at.loss for at in three if at.loss] == pytest.approx([at.loss for at in one if at.loss], **CLOSE)


def test_rank_0_alone_computes_features_and_each_image_is_trained_on_by_one(three):
    asked = three[2]
    # Rank 0: an example, two views, then its share. Empty shares are stood in for by the first image of their batch.
    assert sum(asked[0].values()) == 1 + 2 * 10 + 3 * (2 + 2 + 1)
    assert sum(asked[1].values()) == 1 + 3 * (1 + 1 + 1 + 1 + 1)
    assert sum(asked[2].values()) == 1 + 3 * (1 + 1 + 1 + 1 + 1)


PROCESS = """
    import pickle, sys
    from pathlib import Path
    from transferlab.core.launch.elastic import train_on_devices

    if __name__ == "__main__":
        folder = Path(sys.argv[1])
        spec = pickle.loads((folder / "spec").read_bytes())
        train_on_devices(spec, folder / "features", lambda at: print(at.epoch, flush=True), folder / "states")
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.usefixtures("from_a_fork_server")
def test_whatever_is_killed_nothing_stays_behind_and_the_bits_are_those_of_a_whole_run(spec, three, tmp_path, caplog):
    spec = replace(spec, compute=on(3, micro_batch=1))
    folders = tmp_path / "features", lambda _: None, tmp_path / "states"

    # One rank is killed in epoch 4: its request 1 is an example, and there are five in an epoch.
    with pytest.raises(RankError, match=r"strategies.tiny: trial 1, process 2 of 3 was ended by SIGKILL.*run again"):
        train_on_devices(watched(spec, tmp_path, at=8, act=kill), *folders)
    assert multiprocessing.active_children() == []

    # The launching process is killed in epoch 5, while a rank is stuck.
    (tmp_path / "script.py").write_text(textwrap.dedent(PROCESS))
    (tmp_path / "spec").write_bytes(pickle.dumps(watched(spec, tmp_path, at=8, act=hang)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, tmp_path / "script.py", tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        epochs = map(int, process.stdout)
        assert next(epochs) == 4
        assert 5 in epochs
        started = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.stdout.close()
    assert len(started) >= 3
    assert psutil.wait_procs(started, timeout=20)[1] == []

    with caplog.at_level("INFO", "transferlab"):
        resumed = train_on_devices(watched(spec, tmp_path), *folders)
    assert [at.getMessage() for at in caplog.records if "goes on" in at.getMessage()] == [
        "tiny: trial 1 goes on after epoch 4"
    ]
    assert untimed(resumed.history) == untimed(three[0].history)
    assert resumed.steps == three[0].steps
    assert same(resumed.checkpoint.tensors, three[0].checkpoint.tensors)

    with pytest.raises(state.StateError, match=r"training.compute.devices was 3, now 2"):
        train_trial(replace(spec, compute=on(2)), *folders)


@pytest.mark.parametrize(
    ("exitcode", "told"),
    [
        (-int(signal.SIGTERM), "SIGTERM"),
        (128 + int(signal.SIGTERM), "SIGTERM"),
        (1, "exit code 1"),
        (255, "exit code 255"),
        (0xC0000005, "exit code 3221225477"),  # an access violation on Windows
    ],
)
def test_how_a_process_has_ended_is_told_whatever_its_code(exitcode, told):
    assert how_ended(exitcode) == told


@pytest.fixture(scope="module")
def pair(spec):
    return replace(spec, compute=on(2), strategy=strategy(select="best", tune=STAGES["tune"]), metric="auroc")


@pytest.mark.usefixtures("from_a_fork_server")
def test_statistics_that_ranks_gather_alone_are_those_of_rank_0_when_held_out_images_are_seen(pair, tmp_path):
    config = strategy(tune=stage(batch_size=3, schedule=Plateau()))  # a share of one image, where BatchNorm sees 1 px
    result = train_on_devices(replace(pair, strategy=config), tmp_path, lambda _: None)
    net, held_out = factory.load(result.checkpoint, machine()), pair.held_out
    images = Images(held_out, result.checkpoint.header.view, machine())
    labels = torch.from_numpy(held_out.labels)
    [found] = scores.evaluate(OneNetwork(net), images.in_order(), labels, machine(), "auroc")
    assert result.history[-1].loss == pytest.approx(found.loss, rel=1e-6)
    assert result.history[-1].value == found.value, "the metric is of the images of all ranks"


@pytest.mark.usefixtures("from_a_fork_server")
def test_an_error_of_all_ranks_is_raised_here_as_it_is_there(pair, tmp_path, caplog):
    wild = replace(STAGES["tune"], optimizer=SGD(lr=1e30))
    spec = replace(pair, strategy=strategy(tune=wild))
    with pytest.raises(DivergedError) as alone:
        train_trial(replace(spec, compute=on(1)), tmp_path, lambda _: None)
    with pytest.raises(DivergedError) as together:
        train_on_devices(spec, tmp_path, lambda _: None)
    assert str(together.value) == str(alone.value)
    assert "in train_trial" in str(together.value.__cause__)
    assert [record for record in caplog.records if record.levelname != "INFO"] == []


@pytest.mark.usefixtures("from_a_fork_server")
def test_an_error_of_one_rank_ends_the_others_and_is_raised_here(pair, tmp_path):
    with pytest.raises(DeviceMemoryError, match=r"tiny: trial 1, stage tune, batch_size 4: .*micro_batch to 1 or less"):
        train_on_devices(watched(pair, tmp_path, at=2, act=run_out), tmp_path, lambda _: None)
    assert multiprocessing.active_children() == []


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_ends_all_though_a_rank_is_stuck(pair, tmp_path, capfd):
    here, handler = psutil.Process(), signal.getsignal(signal.SIGINT)

    def ranks_there():
        return [child for child in here.children() if "spawn_main" in str(child.cmdline())]

    def press(*processes):
        for process in processes:
            process.send_signal(signal.SIGINT)

    def press_early():
        while len(ranks_there()) < 2:
            time.sleep(0.01)
        time.sleep(0.5)
        press(*ranks_there())

    early = threading.Thread(target=press_early)
    early.start()
    with pytest.raises(KeyboardInterrupt):  # a terminal sends it to all
        train_on_devices(watched(pair, tmp_path, at=2, act=hang), tmp_path, lambda _: press(*ranks_there(), here))
    early.join()
    assert multiprocessing.active_children() == []
    assert signal.getsignal(signal.SIGINT) == handler
    assert capfd.readouterr() == ("", "")
