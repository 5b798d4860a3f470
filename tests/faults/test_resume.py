"""A trial that is killed, at whatever moment, and goes on ends with the bits of one that was never killed."""

import os
import random
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import same, spec_of, split_of, stage, strategy, untimed

from transferlab.core.loading.feature_cache import FeatureCacheConfig
from transferlab.core.runtime import interrupt
from transferlab.core.strategies.optimizers import SGD, Adam
from transferlab.core.strategies.schedules import OneCycle, Plateau
from transferlab.core.training import scores, state
from transferlab.core.training.state import StateError, StateFile, finished_epochs
from transferlab.core.training.trial import train_trial
from transferlab.core.transforms.operations import RandomFlip, RandomResizedCrop

AUGMENTATION = (RandomResizedCrop(), RandomFlip())
STAGED = {
    "head": stage(epochs=2, trainable="head", optimizer=SGD(lr=0.2), augmentation=AUGMENTATION, views=2),
    "tune": stage(epochs=2, optimizer=Adam(name="adamw", lr=1e-2), schedule=OneCycle(), augmentation=AUGMENTATION),
    "more": stage(
        epochs=2,
        optimizer=Adam(name="adamw", lr=1e-3),
        keep_optimizer=True,
        schedule=Plateau(patience=0),
        augmentation=AUGMENTATION,
    ),
}


class Killed(BaseException):
    """Stands for the end of the process: nothing of the trial catches it."""


@pytest.fixture(autouse=True)
def state_after_every_epoch(monkeypatch):
    monkeypatch.setattr(state, "SECONDS_BETWEEN_STATES", 0.0)


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    splits = split_of(folder / "train", 11), split_of(folder / "validation", 6, "validation", seed=1)
    return replace(spec_of(strategy(select="best", **STAGED), *splits), metric="macro_f1")


@pytest.fixture(scope="module")
def whole(spec, tmp_path_factory):
    return train_trial(spec, tmp_path_factory.mktemp("features"), lambda _: None)


def assert_identical(one, other):
    assert untimed(one.history) == untimed(other.history)
    assert one.steps == other.steps
    assert one.checkpoint.header == other.checkpoint.header
    assert same(one.checkpoint.tensors, other.checkpoint.tensors)


def killing_after(calls):
    """A report that ends the trial at its n-th call: a step, or the end of an epoch before its state is written."""
    left = iter(range(calls))

    def report(_):
        if next(left, None) is None:
            raise Killed

    return report


def train_with_kills(spec, folder, kills):
    for calls in kills:
        try:
            return train_trial(spec, folder / "features", killing_after(calls), folder / "states")
        except Killed:
            continue
    return train_trial(spec, folder / "features", lambda _: None, folder / "states")


# Four calls to an epoch (three steps and its end), so these are before, at and after each unfreezing, and at the ends.
@pytest.mark.parametrize("calls", [0, 1, 3, 4, 6, 7, 8, 9, 12, 15, 16, 17, 20, 23])
def test_killed_once(spec, whole, tmp_path, calls):
    assert_identical(train_with_kills(spec, tmp_path, [calls]), whole)


@pytest.mark.parametrize("seed", range(6))
def test_killed_again_and_again(spec, whole, tmp_path, seed):
    draws = random.Random(seed)
    assert_identical(train_with_kills(spec, tmp_path, [draws.randrange(1, 10) for _ in range(8)]), whole)


def test_a_killed_evaluation_or_save_loses_nothing_either(spec, whole, tmp_path, monkeypatch):
    kills = iter([3, 5])

    def killing(function):
        left = [next(kills)]

        def called(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return function(*args, **kwargs)

        return called

    with monkeypatch.context() as patch:
        patch.setattr(scores, "evaluate", killing(scores.evaluate))
        with pytest.raises(Killed):
            train_with_kills(spec, tmp_path, [])
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", killing(torch.save))
        with pytest.raises(Killed):
            train_with_kills(spec, tmp_path, [])
    assert_identical(train_with_kills(spec, tmp_path, []), whole)


def test_a_finished_trial_is_not_trained_again(spec, whole, tmp_path):
    train_with_kills(spec, tmp_path, [])
    assert_identical(train_with_kills(spec, tmp_path, [0]), whole)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"seed": 1}, r"training\.seed was 0, now 1"),
        ({"keeping": FeatureCacheConfig(dtype="bfloat16")}, r"training\.features\.dtype was float32, now bfloat16"),
    ],
)
def test_the_state_of_another_trial_is_refused(spec, tmp_path, changes, part):
    with pytest.raises(Killed):
        train_trial(spec, tmp_path, killing_after(9), tmp_path / "states")
    with pytest.raises(StateError, match=f"begun with other settings: {part}.*delete the folder"):
        train_trial(replace(spec, **changes), tmp_path, lambda _: None, tmp_path / "states")


def test_another_limit_of_the_feature_cache_goes_on(spec, whole, tmp_path):
    with pytest.raises(Killed):
        train_trial(spec, tmp_path, killing_after(9), tmp_path / "states")
    roomy = replace(spec, keeping=FeatureCacheConfig(limit_gb=1.0))
    assert_identical(train_trial(roomy, tmp_path, lambda _: None, tmp_path / "states"), whole)


def test_a_damaged_state_is_refused_and_runs_no_code(spec, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "evil"),)

    states = tmp_path / "states"
    states.mkdir()
    torch.save({"fingerprint": Evil()}, states / "trial_0.pt")
    with pytest.raises(StateError, match="damaged"):
        train_trial(spec, tmp_path, lambda _: None, states)
    assert not (tmp_path / "evil").exists()
    (states / "trial_0.pt").write_bytes(b"PK\x03\x04 not a state")
    with pytest.raises(StateError, match="damaged"):
        train_trial(spec, tmp_path, lambda _: None, states)


def stopping_after(calls, *signals):
    """A report that sends this process real signals at the n-th step or epoch, and counts them."""
    seen = []

    def report(at):
        if at.doing:
            return
        seen.append(at)
        if len(seen) == calls + 1:
            for number in signals:
                os.kill(os.getpid(), number)

    return report, seen


def stop(spec, folder, calls, *signals):
    """A trial that is stopped at its n-th call: the epochs that its state was written after, and all its calls."""
    report, seen = stopping_after(calls, *signals)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in the background
    with pytest.raises(KeyboardInterrupt), interrupt.stoppable():
        train_trial(spec, folder / "features", report, folder / "states")
    state = folder / "states" / "trial_0.pt"
    return finished_epochs(state) if state.exists() else 0, len(seen)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["all_saved", "none_saved"])
@pytest.mark.parametrize("calls", [1, 3, 5, 6, 7, 9, 14, 18, 22])
def test_a_stop_keeps_the_last_finished_epoch(spec, whole, tmp_path, monkeypatch, calls, seconds):
    monkeypatch.setattr(state, "SECONDS_BETWEEN_STATES", seconds)
    kept, seen = stop(spec, tmp_path, calls, signal.SIGTERM)
    finished = calls // 4  # of four calls to an epoch, the last is its end
    assert kept >= finished
    is_saved = seconds == 0 or finished % 2 == 0  # every stage has two epochs, and its last is always saved
    assert seen == (calls + 1 if is_saved else 4 * (finished + 1)), "it waits only for what would be lost"
    assert_identical(train_with_kills(spec, tmp_path, []), whole)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_second_ctrl_c_does_not_wait_for_the_epoch(spec, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(state, "SECONDS_BETWEEN_STATES", 1e9)
    assert stop(spec, tmp_path, 5, signal.SIGINT, signal.SIGINT) == (0, 6)
    assert_identical(train_with_kills(spec, tmp_path, []), whole)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_a_flipped_byte_of_a_state_is_refused(flippable, at, change):
    file, whole = flippable
    at = int(at * len(whole))
    file.path.write_bytes(whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :])
    with pytest.raises(StateError, match=r"trial_0\.pt is damaged.*delete it to train this trial anew"):
        file.read()
    assert finished_epochs(file.path) >= 0


@pytest.fixture(scope="module")
def flippable(tmp_path_factory):
    file = StateFile(tmp_path_factory.mktemp("state") / "trial_0.pt", {"seed": "1"})
    file.write({"network": {"weight": torch.arange(100.0)}, "seconds": 1.5}, epoch=3)
    return file, file.path.read_bytes()


PROCESS = """
    import pickle, sys
    from pathlib import Path
    from transferlab.core.training import state as resume
    from transferlab.core.training.trial import train_trial

    resume.SECONDS_BETWEEN_STATES = 0.0
    folder = Path(sys.argv[1])
    calls = 0

    def report(at):
        global calls
        calls += 1
        print(calls, flush=True)

    if __name__ == "__main__":
        spec = pickle.loads((folder / "spec").read_bytes())
        result = train_trial(spec, folder / "features", report, folder / "states")
        (folder / "result").write_bytes(pickle.dumps(result))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_sigkill_of_the_real_process(spec, whole, tmp_path):
    import pickle

    (tmp_path / "script.py").write_text(textwrap.dedent(PROCESS))
    (tmp_path / "spec").write_bytes(pickle.dumps(spec))
    command = [sys.executable, tmp_path / "script.py", tmp_path]
    for calls in (7, 10):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if int(line) == calls:
                    process.send_signal(signal.SIGKILL)
                    break
        assert process.returncode == -signal.SIGKILL
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert_identical(pickle.loads((tmp_path / "result").read_bytes()), whole)  # noqa: S301 - written by this test
