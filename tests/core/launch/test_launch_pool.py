"""Trials trained at a time by several processes, really started; each start costs seconds, so each test asks much."""

import multiprocessing
import os
import signal
from dataclasses import replace

import psutil
import pytest
from tiny import COMPUTE, FLIP_AND_CROP, assert_same_results, spec_of, split_of, stage, strategy

from transferlab.core.launch import pool
from transferlab.core.launch.channel import RankError
from transferlab.core.launch.trials import train_trials
from transferlab.core.strategies.optimizers import SGD
from transferlab.core.training import divergence, state

STAGES = {
    "head": stage(trainable="head", optimizer=SGD(lr=0.2), augmentation=FLIP_AND_CROP, views=2),
    "tune": stage(epochs=3, augmentation=FLIP_AND_CROP),
}
TWO = replace(COMPUTE, parallel_trials=2)


def quietly(_):
    pass


def in_parallel(specs):
    return [replace(spec, compute=TWO) for spec in specs]


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    splits = split_of(folder / "train", 10), split_of(folder / "validation", 4, "validation", seed=1)
    return [spec_of(strategy(select="best", **STAGES), *splits, trial=trial) for trial in range(3)]


@pytest.fixture(scope="module")
def one_by_one(specs, tmp_path_factory):
    return train_trials(specs, tmp_path_factory.mktemp("alone"), quietly)


def test_they_are_to_the_bit_what_they_are_one_by_one_and_all_is_told_here(specs, one_by_one, tmp_path, caplog):
    told = []
    with caplog.at_level("INFO", "transferlab"):
        found = train_trials(in_parallel(specs), tmp_path, told.append)
    assert_same_results(found, one_by_one)
    assert "tiny: 2 trials at a time, threads of each: 1" in caplog.messages
    ends = [(at.trial, at.epoch) for at in told if at.loss is not None]
    assert sorted(ends) == [(trial, epoch) for trial in range(3) for epoch in range(1, 6)]
    assert [result.cost.parallel_trials for result in found.values()] == [2, 2, 2]
    assert [result.cost.parallel_trials for result in one_by_one.values()] == [1, 1, 1]
    assert multiprocessing.active_children() == []


def test_the_only_trial_that_is_left_has_its_share_of_threads_too(specs, one_by_one, tmp_path, monkeypatch):
    launched = []

    def launch(left, *_):
        launched.extend(left)
        return iter([(2, one_by_one[2])])

    monkeypatch.setattr(pool, "launch", launch)
    train_trials(in_parallel(specs)[2:], tmp_path, quietly)
    assert [spec.trial for spec in launched] == [2]


@pytest.mark.usefixtures("from_a_fork_server")
def test_one_that_diverges_is_left_out_and_what_it_had_is_kept(specs, one_by_one, tmp_path, caplog):
    wild = strategy(**STAGES, wild=stage(optimizer=SGD(lr=1e30)))
    some = [specs[0], replace(specs[1], strategy=wild), specs[2]]
    states = tmp_path / "unfinished"
    found = train_trials(in_parallel(some), tmp_path, quietly, states)
    assert_same_results(found, {number: one_by_one[number] for number in (0, 2)})
    assert "tiny: trial 2 of 3 stopped: the loss became" in caplog.text
    assert f"What it had after epoch 5 is kept in {divergence.path_of(states, 1)}" in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.usefixtures("from_a_fork_server")
def test_a_process_that_is_killed_ends_the_others_and_the_bits_are_those_of_a_whole_run(specs, one_by_one, tmp_path):
    folders = tmp_path / "features", quietly, tmp_path / "states"

    killed = []

    def kill_one(at):
        if at.epoch == 4 and not killed:
            killed.append(multiprocessing.active_children()[0])
            killed[0].kill()

    told = r"strategies.tiny: trial [12] was ended by SIGKILL.*training.compute.threads: 1, .*run again to go on"
    with pytest.raises(RankError, match=told):
        train_trials(in_parallel(specs), folders[0], kill_one, folders[2])
    assert multiprocessing.active_children() == []
    assert_same_results(train_trials(in_parallel(specs), *folders), one_by_one)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_saves_the_epoch_of_each_first(specs, one_by_one, tmp_path):
    states = tmp_path / "states"

    pressed = []

    def press(at):
        if at.trial == 1 and at.epoch == 4 and not pressed:
            pressed.extend((*psutil.Process().children(), psutil.Process()))  # a terminal sends it to all
            for process in pressed:
                process.send_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_trials(in_parallel(specs), tmp_path, press, states)
    assert multiprocessing.active_children() == []
    assert state.finished_epochs(states / "trial_1.pt") >= 3  # only every stage's last epoch is saved otherwise: 2
    assert_same_results(train_trials(in_parallel(specs), tmp_path, quietly, states), one_by_one)


@pytest.mark.usefixtures("from_a_fork_server")
def test_an_error_of_one_is_raised_here_and_ends_the_others(specs, tmp_path):
    states = tmp_path / "states"
    states.mkdir()
    (states / "trial_1.pt").write_bytes(b"of something else")
    with pytest.raises(state.StateError, match=r"trial_1.pt is damaged") as caught:
        train_trials(in_parallel(specs), tmp_path, quietly, states)
    assert "in a process of its own:\nTraceback" in str(caught.value.__cause__)
    assert multiprocessing.active_children() == []
