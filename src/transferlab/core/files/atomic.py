"""Files that are written whole or not at all.

A uniquely named temporary file in the same folder, flushed and fsynced, then renamed over the target, then the folder
fsynced: a kill at any moment leaves the old file or the new one. While its process lives the temporary file is locked,
so that what a killed one left can be told from what is being written.
"""

from __future__ import annotations

import errno
import filecmp
import os
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PREFIX = ".unfinished-"
# What file systems say that cannot sync a folder: SMB, FUSE and the like (fsync(2)).
_NOT_FOR_FOLDERS = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF}
_OF_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


@contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """Open a file for writing bytes that becomes `target` when the block ends, and vanishes if it raises.

    Raises:
        OSError: it cannot be written, such as for lack of space; names `target`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with named(target), temporary(target.parent, Path.touch) as unfinished:
        try:
            with unfinished.open("w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(target)
            sync_folder(target.parent)
        finally:
            unfinished.unlink(missing_ok=True)


def link_same(path: Path, others: Iterable[Path]) -> None:
    """Make a file another name (hard link) of one of `others` that has the same bytes, so that they are on disk once.

    Whoever removes one of the names leaves the others. Such files may be replaced, and never written into. Where the
    file system has no hard links, or the other has gone meanwhile, the file stays one of its own.
    """
    for other in others:
        with suppress(OSError):
            if path.samefile(other):
                continue
            if filecmp.cmp(path, other, shallow=False):
                name = path.with_name(f"{PREFIX}{uuid.uuid4().hex}")
                os.link(other, name)
                name.replace(path)
                return


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Name `path` in an error of the disk that names no file, and in one that names a temporary one."""
    try:
        yield
    except OSError as error:
        is_of_disk = error.filename is None and error.errno in _OF_DISK
        if is_of_disk or PREFIX in str(error.filename):
            error.filename, error.filename2 = str(path), None
        raise


@contextmanager
def temporary(parent: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """Give a fresh path in `parent`, made by `make` and locked: no sweep removes it while this process lives."""
    with ExitStack() as held:
        yield _locked(parent, make, held)


def _locked(parent: Path, make: Callable[[Path], None], held: ExitStack) -> Path:
    while True:
        path = parent / f"{PREFIX}{uuid.uuid4().hex}"
        make(path)
        with suppress(FileNotFoundError):  # a sweep was faster than the lock: take another name
            held.enter_context(lock(path, wait=True))
            if path.exists():
                return path


@contextmanager
def lock(path: Path, wait: bool = False) -> Iterator[bool]:
    """Hold the lock of a file or folder (flock, which ends with the process); False where there is none to have.

    Raises:
        BlockingIOError: another process holds it, and `wait` is False.
    """
    if sys.platform == "win32":
        yield False
        return
    import fcntl

    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            is_locked = True
        except BlockingIOError:
            raise
        except OSError:  # some network file systems lock nothing; then only the age tells
            is_locked = False
        yield is_locked
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable where that can be asked for: not on Windows or some network file systems."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_FOR_FOLDERS:
            raise
    finally:
        os.close(descriptor)
