"""Folders that appear whole or not at all, and sweeping what a killed process left behind."""

from __future__ import annotations

import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from transferlab.core.files.atomic import PREFIX, lock, named, sync_folder, temporary

logger = logging.getLogger(__name__)

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
    with named(parent), temporary(parent, Path.mkdir) as unfinished:
        try:
            yield unfinished
            _publish(unfinished, parent / name())
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def remove(folder: Path) -> None:
    """Remove a folder: a kill at any moment leaves all of it under its name, or nothing."""
    with suppress(FileNotFoundError), lock(folder, wait=True):  # another process may be removing it too
        shutil.rmtree(folder.replace(folder.with_name(f"{PREFIX}{uuid.uuid4().hex}")))


def sweep(parent: Path) -> bool:
    """Remove unfinished folders and files in `parent` that no running process is writing; tell whether there were any.

    A warning says so, since what a killed process was writing is not there.
    """
    swept = [path for path in sorted(parent.glob(f"{PREFIX}*")) if _swept(path)]
    if swept:
        logger.warning("%s: removed what a killed process left unfinished; a run that needs it makes it again", parent)
    return bool(swept)


def _swept(path: Path) -> bool:
    """Remove a path that nobody locks (the lock of a killed process is gone) or, without locks, that is old."""
    try:
        with lock(path) as is_locked_here:
            if not is_locked_here and time.time() - path.lstat().st_mtime < ORPHAN_SECONDS:
                return False
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
            return True
    except (FileNotFoundError, BlockingIOError):  # finished or swept meanwhile; or somebody is writing it
        return False
    except OSError as error:
        logger.warning("%s: a killed process left it unfinished; remove it by hand (%s)", path, error.strerror)
        return False


def _publish(unfinished: Path, target: Path) -> None:
    """Rename, with the contents on disk before the name."""
    files = [file for file in unfinished.rglob("*") if file.is_file()]
    if len(files) > MANY_FILES and hasattr(os, "sync"):
        os.sync()
    else:
        for file in files:
            with file.open("rb+") as written:
                os.fsync(written.fileno())
    try:
        unfinished.replace(target)
    except OSError:
        if not target.is_dir():
            raise
    sync_folder(target.parent)
