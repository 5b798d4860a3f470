"""Folders that appear whole or not at all, and sweeping what a killed process left behind."""

from __future__ import annotations

import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from transferlab.core.atomic import PREFIX, sync_folder

NEWBORN_SECONDS = 60  # a folder may exist for a moment before it is locked
ORPHAN_SECONDS = 24 * 3600  # for what cannot be locked: nothing here is being written for a day without a change
MANY_FILES = 100  # above it one sync of everything: a fsync for each of 10,000 files takes minutes on some disks


@contextmanager
def whole_folder(parent: Path, name: Callable[[], str]) -> Iterator[Path]:
    """Give an empty temporary folder in `parent` that becomes `parent / name()` when the block ends without an error.

    `name` is asked at the end, so it may depend on what was written. A folder that has this name already stays as it
    is (names stand for contents) and the temporary one is removed, as it is after any error.
    """
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    temporary = parent / f"{PREFIX}{uuid.uuid4().hex}"
    temporary.mkdir()
    try:
        with _lock(temporary):
            yield temporary
            _publish(temporary, parent / name())
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Remove unfinished folders and files in `parent` that no running process is writing."""
    for orphan in parent.glob(f"{PREFIX}*"):
        if not _is_orphan(orphan):
            continue
        if orphan.is_dir() and not orphan.is_symlink():
            shutil.rmtree(orphan, ignore_errors=True)
        else:
            orphan.unlink(missing_ok=True)


def _is_orphan(path: Path) -> bool:
    """A folder that nobody locks (the lock of a killed process is gone), or anything that is old."""
    try:
        age = time.time() - path.lstat().st_mtime
        if age < NEWBORN_SECONDS or not path.is_dir():
            return age >= ORPHAN_SECONDS
        with _lock(path) as is_locked_here:
            return is_locked_here or age >= ORPHAN_SECONDS
    except (FileNotFoundError, BlockingIOError):  # finished or swept meanwhile; or somebody is writing it
        return False


@contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock (flock, which ends with the process); False where there is none to have.

    Raises:
        BlockingIOError: another process holds it.
    """
    if sys.platform == "win32":
        yield False
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        except BlockingIOError:
            raise
        except OSError:  # some network file systems lock no folders; then only the age tells
            locked = False
        yield locked
    finally:
        os.close(descriptor)


def _publish(temporary: Path, target: Path) -> None:
    """Rename, with the contents on disk before the name."""
    files = [file for file in temporary.rglob("*") if file.is_file()]
    if len(files) > MANY_FILES and hasattr(os, "sync"):
        os.sync()
    else:
        for file in files:
            with file.open("rb+") as written:
                os.fsync(written.fileno())
    try:
        temporary.replace(target)
    except OSError:
        if not target.is_dir():
            raise
    sync_folder(target.parent)
