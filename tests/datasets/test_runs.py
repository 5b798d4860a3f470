"""Which runs have not ended, and which of these are under way."""

import os
import signal

import pytest
from dataset_kinds import NEW, OLD, OTHER
from kedro.io import DatasetError

from transferlab.datasets.runs import RunsDataset

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")


@pytest.fixture
def runs(tmp_path):
    return RunsDataset(filepath=str(tmp_path / "runs"))


def test_a_run_is_under_way_until_it_ends(runs):
    assert runs.not_ended() == {}
    first, second, third = (runs.begin(run_id) for run_id in (OLD, NEW, OTHER))
    assert runs.not_ended() == {OLD: True, NEW: True, OTHER: True}
    first.end(is_whole=True)
    second.end(is_whole=False)
    assert runs.not_ended() == {NEW: False, OTHER: True}
    runs.forget(NEW)
    third.end(is_whole=True)
    assert runs.not_ended() == {}


def test_of_two_runs_of_one_millisecond_the_second_is_told(runs):
    first = runs.begin(NEW)
    with pytest.raises(DatasetError, match=r"same millisecond.*run again"):
        runs.begin(NEW)
    assert runs.not_ended() == {NEW: True}
    first.end(is_whole=True)


def test_a_killed_run_is_not_under_way(runs):
    ready, begun = os.pipe()
    child = os.fork()
    if not child:
        run = runs.begin(NEW)
        os.write(begun, run.file.name.encode())
        signal.pause()
    assert os.read(ready, 100) == NEW.encode()
    assert runs.not_ended() == {NEW: True}
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert runs.not_ended() == {NEW: False}
