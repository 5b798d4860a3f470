"""Written whole or not at all, and a session loads the version that it saved itself."""

import os
import signal
import subprocess
import sys

import pytest
from dataset_kinds import KINDS, NEW, OLD, OTHER, checkpoint, version
from kedro.io import DatasetError


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_loads_what_it_saved_itself(tmp_path, kind):
    dataset, name, data = KINDS[kind]
    path = tmp_path / name
    version(dataset, path, OLD).save(data)
    mine, theirs = version(dataset, path, NEW), version(dataset, path, OTHER)
    assert mine.resolve_load_version() == OLD, "nothing of its own yet"
    theirs.save(data)
    mine.save(data)
    assert mine.resolve_load_version() == NEW, "not the later one of the other session"
    assert theirs.resolve_load_version() == OTHER
    assert version(dataset, path, "2026-01-04T00.00.00.000Z").resolve_load_version() == OTHER, "a later one: the latest"
    assert version(dataset, path, NEW, load=OLD).resolve_load_version() == OLD, "the one asked for"


@pytest.mark.parametrize("kind", KINDS)
def test_a_version_is_not_saved_twice(tmp_path, kind):
    dataset, name, data = KINDS[kind]
    version(dataset, tmp_path / name, NEW).save(data)
    with pytest.raises(DatasetError, match="must not exist"):
        version(dataset, tmp_path / name, NEW).save(data)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_never_saved_does_not_exist_and_says_so(tmp_path, kind):
    dataset, name, _ = KINDS[kind]
    for missing in (version(dataset, tmp_path / name, NEW), dataset(filepath=str(tmp_path / name))):
        assert not missing.exists()
        with pytest.raises(DatasetError, match="--only-missing-outputs"):
            missing.load()


class Breaks:
    """Fails in the middle of being written, whatever it is written as."""

    header: dict[str, str] = {}  # noqa: RUF012

    def savefig(self, file, **_):
        file.write(b"\x89PNG half")
        raise OSError("disk full")

    def to_csv(self, file, **_):
        self.savefig(file)

    def encode(self):
        raise OSError("disk full")

    def to_bytes(self):
        raise OSError("disk full")


@pytest.mark.parametrize("kind", KINDS)
def test_a_save_that_raises_leaves_no_version(tmp_path, kind):
    dataset, name, data = KINDS[kind]
    path = tmp_path / name
    version(dataset, path, OLD).save(data)
    broken = {"trials": {0: checkpoint(), 1: Breaks()}, "json": {"a": Breaks()}}.get(kind, Breaks())
    failing = version(dataset, path, NEW)
    with pytest.raises(DatasetError):
        failing.save(broken)
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and NEW in str(file)]
    later = version(dataset, path, OTHER)
    assert later.exists()
    assert later.resolve_load_version() == OLD
    later.load()


SLOW_SAVE = """
import sys, time
from pathlib import Path
from kedro.io import Version
from transferlab.core.checkpoint import Checkpoint
from transferlab.datasets.checkpoints import TrialsDataset
from transferlab.datasets.table import TableDataset

class Slow:
    def to_csv(self, file, **_):
        file.write(b"strategy,value"); file.flush(); print("half", flush=True); time.sleep(60)
    def to_bytes(self):
        print("half", flush=True); time.sleep(60)

kind, path, version = sys.argv[1:]
if kind == "table":
    TableDataset(filepath=path, version=Version(None, version)).save(Slow())
else:
    import torch
    whole = Checkpoint({"w": torch.zeros(2)}, {})
    TrialsDataset(filepath=path, version=Version(None, version)).save({0: whole, 1: Slow()})
"""


@pytest.mark.parametrize("kind", ["table", "trials"])
def test_a_save_that_is_killed_leaves_no_version(tmp_path, kind):
    dataset, name, data = KINDS[kind]
    path = tmp_path / name
    version(dataset, path, OLD).save(data)
    command = [sys.executable, "-c", SLOW_SAVE, kind, str(path), NEW]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    assert not version(dataset, path, OTHER, load=NEW).exists()
    later = version(dataset, path, OTHER)
    assert later.exists()
    assert later.resolve_load_version() == OLD
    (orphan,) = tmp_path.rglob(".unfinished-*")
    later.save(data)
    assert later.resolve_load_version() == OTHER
    assert orphan.exists(), "somebody may be writing it: it is a moment old"
    os.utime(orphan, (0, 0))
    version(dataset, path, "2026-01-04T00.00.00.000Z").save(data)
    assert not orphan.exists()
