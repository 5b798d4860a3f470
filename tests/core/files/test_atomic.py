import errno
import os
import signal
import stat
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from transferlab.core.files.atomic import PREFIX, lock, whole_file


def test_a_file_appears_whole_when_the_block_ends(tmp_path):
    target = tmp_path / "new" / "folder" / "a.bin"
    with whole_file(target) as file:
        file.write(b"one")
        file.flush()
        assert not target.exists()
    assert target.read_bytes() == b"one"
    assert list(target.parent.iterdir()) == [target]


def test_an_error_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def fail():
        with whole_file(target) as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere no folder is synced")
@pytest.mark.parametrize("refusal", [errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EIO])
def test_a_file_system_that_cannot_sync_folders_is_no_error_and_a_failing_disk_is(tmp_path, monkeypatch, refusal):
    sync = os.fsync

    def of_files_alone(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(refusal, os.strerror(refusal))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", of_files_alone)
    with pytest.raises(OSError, match="error") if refusal == errno.EIO else nullcontext(), whole_file(tmp_path / "a"):
        pass


def test_two_writers_do_not_meet(tmp_path):
    target = tmp_path / "a.bin"
    with whole_file(target) as first, whole_file(target) as second:
        first.write(b"first")
        second.write(b"2nd")
    assert target.read_bytes() == b"first"  # the outer block ends last
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_it_has_the_permissions_of_any_new_file(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        with whole_file(tmp_path / "a.bin"):
            pass
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == mode


@pytest.mark.skipif(os.name != "posix", reason="kills with a POSIX signal")
def test_a_kill_while_writing_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    code = (
        "import os, pathlib, signal, sys\n"
        "from transferlab.core.files.atomic import whole_file\n"
        "with whole_file(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"old"
    assert [file.name.startswith(PREFIX) for file in sorted(tmp_path.iterdir())] == [True, False]


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_full_disk_leaves_the_old_file_and_the_error_names_it(tmp_path, kind):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    code = (
        "import pathlib, resource, sys\n"
        "from transferlab.core.files.atomic import whole_file\n"
        "from transferlab.core.files.folders import whole_folder\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    if sys.argv[2] == 'file':\n"
        "        with whole_file(folder / 'a.bin') as file:\n"
        "            file.write(bytes(5000))\n"
        "    else:\n"
        "        with whole_folder(folder, lambda: 'a') as inside:\n"
        "            (inside / 'part').write_bytes(bytes(5000))\n"
        "except OSError as error:\n"
        "    print(error.strerror, error.filename, sep=': ', end='')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path, kind], check=True, capture_output=True, text=True)
    assert done.stdout == f"File too large: {target if kind == 'file' else tmp_path}"
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_bytes_are_on_the_disk_before_the_name(tmp_path, monkeypatch):
    seen = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (seen.append("sync"), sync(fd)))
    monkeypatch.setattr(Path, "replace", lambda *names: (seen.append("rename"), replace(*names)))
    monkeypatch.setattr(Path, "rename", lambda *names: pytest.fail("not atomic on Windows"))
    with whole_file(tmp_path / "a.bin") as file:
        file.write(b"one")
    assert seen == (["sync", "rename", "sync"] if os.name == "posix" else ["sync", "rename"])


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_worked_on_without(tmp_path, monkeypatch, code):
    import fcntl

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock(tmp_path) as is_locked:
        assert is_locked is False
    with whole_file(tmp_path / "a.bin") as file:
        file.write(b"one")
    assert (tmp_path / "a.bin").read_bytes() == b"one"
