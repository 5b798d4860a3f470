import errno
import fcntl
import os
import shutil
import time
from pathlib import Path

import pytest

from transferlab.core.files.atomic import temporary, whole_file
from transferlab.core.files.folders import ORPHAN_SECONDS, remove, sweep, whole_folder


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), whole_folder(tmp_path, lambda: "done") as folder:  # noqa: PT012
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with whole_folder(tmp_path, lambda: "done") as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / "done").exists()
    assert (tmp_path / "done" / "file").read_text() == "x"


def test_the_first_of_two_stays(tmp_path):
    for content in "ab":
        with whole_folder(tmp_path, lambda: "done") as folder:
            (folder / "file").write_text(content)
    assert names(tmp_path) == ["done"]
    assert (tmp_path / "done" / "file").read_text() == "a"


def leave_unfinished(folder, *left):
    """What killed processes leave: folders, and files where the name has a dot."""
    for name in left:
        path = folder / f".unfinished-{name}"
        path.write_text("x") if "." in name else path.mkdir()


def test_what_nobody_writes_is_swept_and_a_warning_names_the_folder_once(tmp_path, caplog):
    (tmp_path / "other").mkdir()
    with whole_folder(tmp_path, lambda: "folder") as folder, whole_file(tmp_path / "file") as file:
        leave_unfinished(tmp_path, "killed", "killed.csv")
        for path in tmp_path.iterdir():
            os.utime(path, (0, 0))
        assert sweep(tmp_path)
        assert not sweep(tmp_path)
        assert set(tmp_path.iterdir()) == {tmp_path / "other", folder, Path(file.name)}
    assert names(tmp_path) == ["file", "folder", "other"]
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path}: removed what a killed process left unfinished")


def test_where_nothing_can_be_locked_only_what_is_old_is_swept(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    leave_unfinished(tmp_path, "old", "old.csv", "young", "young.csv")
    long_ago = time.time() - ORPHAN_SECONDS - 60
    for name in ("old", "old.csv"):
        os.utime(tmp_path / f".unfinished-{name}", (long_ago, long_ago))
    sweep(tmp_path)
    assert names(tmp_path) == [".unfinished-young", ".unfinished-young.csv"]


def test_what_cannot_be_removed_is_named_and_stops_nothing(tmp_path, monkeypatch, caplog):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    leave_unfinished(tmp_path, "killed")
    monkeypatch.setattr(shutil, "rmtree", refuse)
    assert not sweep(tmp_path)
    assert caplog.messages == [
        f"{tmp_path}/.unfinished-killed: a killed process left it unfinished; remove it by hand (Permission denied)"
    ]


@pytest.mark.parametrize("moment", ["before the file is opened", "before it is locked"])
def test_a_sweep_that_is_faster_than_the_lock_takes_nothing_from_the_writer(tmp_path, monkeypatch, moment):
    made, flock = [], fcntl.flock

    def make(path):
        path.mkdir()
        made.append(path)
        if len(made) == 1 and moment == "before the file is opened":
            path.rmdir()

    def lock(*arguments):
        if len(made) == 1:
            made[0].rmdir()
        flock(*arguments)

    monkeypatch.setattr(fcntl, "flock", lock)
    with temporary(tmp_path, make) as path:
        assert path.is_dir()
        assert path == made[1]


def test_a_removal_that_is_killed_leaves_nothing_under_the_name(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(_):
        raise Killed

    (tmp_path / "version").mkdir()
    (tmp_path / "version" / "trial_0").write_text("x")
    with monkeypatch.context() as patch, pytest.raises(Killed):  # noqa: PT012
        patch.setattr(shutil, "rmtree", killed)
        remove(tmp_path / "version")
    assert not (tmp_path / "version").exists()
    sweep(tmp_path)
    assert names(tmp_path) == []
    remove(tmp_path / "version")  # another process was faster
