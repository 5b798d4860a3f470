"""Decode many files in processes that may die: a file that kills its process is quarantined, and no other."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transferlab.core.data.decoding.decode import UnusableImageError, decode_rgb
from transferlab.core.data.store import Resize

CHUNK_FILES = 64
CHUNK_BYTES = 1 << 20  # of files: one large photograph, or many small ones, per message between processes
CHUNKS_PER_WORKER = 3  # in flight: enough to keep workers busy, few enough to bound the memory


@dataclass(frozen=True)
class Decoded:
    """One image: hashes of its file and of its pixels before any resize, its size, and image_HWC per resize."""

    file_sha256: str
    pixel_sha256: str
    width: int
    height: int
    images: tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True)
class Failed:
    """A file that gives no image, and the sentence that says why. Without a hash it killed its process."""

    reason: str
    file_sha256: str | None = None


Outcome = Decoded | Failed


def decode_all(files: Sequence[Path], resizes: Sequence[Resize], workers: int) -> Iterator[Outcome]:
    """The outcome of every file, in order; at most a few chunks of images are in memory at a time.

    Args:
        files: what to decode.
        resizes: each image is decoded once and resized in all these ways.
        workers: processes; 0 decodes in this one, which a malicious file can then kill.
    """
    if workers == 0:
        for file in files:
            yield decode_one(file, resizes)
        return
    chunks = _chunks(files)
    pending: deque[list[Path]] = deque()
    while True:
        try:
            with _pool(workers) as pool:
                yield from _stream(pool, chunks, pending, resizes, CHUNKS_PER_WORKER * workers)
            return
        except BrokenProcessPool:
            _check_that_workers_start()
            suspects = [file for chunk in pending for file in chunk]
            pending.clear()
        yield from _one_at_a_time(suspects, resizes)


def decode_one(file: Path, resizes: Sequence[Resize]) -> Outcome:
    """Decode one file in this process."""
    try:
        data = file.read_bytes()
    except OSError as error:
        return Failed(f"It cannot be read: {error.strerror}.")
    file_sha256 = hashlib.sha256(data).hexdigest()
    try:
        image = decode_rgb(data, file.name)
    except UnusableImageError as error:
        return Failed(str(error), file_sha256)
    images = tuple(np.array(resize(image)) for resize in resizes)
    return Decoded(file_sha256, pixel_sha256(np.asarray(image)), image.width, image.height, images)


def pixel_sha256(image_HWC: NDArray[np.uint8]) -> str:
    """SHA-256 of an image's height and width and pixels: an edit of metadata does not change it."""
    digest = hashlib.sha256(np.array(image_HWC.shape[:2], dtype="<i8").tobytes())
    digest.update(np.ascontiguousarray(image_HWC).data)
    return digest.hexdigest()


def _stream(
    pool: ProcessPoolExecutor,
    chunks: Iterator[list[Path]],
    pending: deque[list[Path]],
    resizes: Sequence[Resize],
    in_flight: int,
) -> Iterator[Outcome]:
    """Outcomes in order, with a bounded number of chunks submitted and not yet taken.

    `pending` is the caller's: when the pool breaks it holds every chunk whose outcomes were not given out.
    """
    futures: deque[Future[list[Outcome]]] = deque()
    while True:
        for chunk in islice(chunks, in_flight - len(pending)):
            pending.append(chunk)
            futures.append(pool.submit(_decode_chunk, chunk, resizes))
        if not pending:
            return
        outcomes = futures.popleft().result()
        pending.popleft()
        yield from outcomes


def _decode_chunk(files: Sequence[Path], resizes: Sequence[Resize]) -> list[Outcome]:
    return [decode_one(file, resizes) for file in files]


def _one_at_a_time(files: Sequence[Path], resizes: Sequence[Resize]) -> Iterator[Outcome]:
    """Outcomes in order, with one file at a time in one process, so that a death names its file."""
    left = deque(files)
    while left:
        try:
            with _pool(1) as pool:
                while left:
                    outcome = pool.submit(decode_one, left[0], resizes).result()
                    left.popleft()
                    yield outcome
        except BrokenProcessPool:
            left.popleft()
            yield Failed("Decoding it killed the process that did it.")


def _check_that_workers_start() -> None:
    """Tell a file that kills its worker from a machine or a script on which no worker lives, whatever the file.

    Raises:
        RuntimeError: a worker with nothing to do has died too.
    """
    try:
        with _pool(1) as pool:
            pool.submit(os.getpid).result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "the processes that decode images cannot start; a script that calls this must do so under "
            "`if __name__ == '__main__':`, or decode in its own process (workers: 0)"
        ) from error


def _pool(workers: int) -> ProcessPoolExecutor:
    """A fresh pool. Never forked from this process: its threads (torch's, BLAS's) could hold locks for ever."""
    method = "spawn" if sys.platform == "win32" else "forkserver"
    return ProcessPoolExecutor(workers, multiprocessing.get_context(method), initializer=_die_with_parent)


def _die_with_parent() -> None:
    """End this process when the one that started it is gone: a killed run would leave idle workers behind for ever."""

    def wait_and_exit() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; what it ends is the parent's matter
    threading.Thread(target=wait_and_exit, daemon=True).start()


def _chunks(files: Iterable[Path]) -> Iterator[list[Path]]:
    chunk: list[Path] = []
    size = 0
    for file in files:
        chunk.append(file)
        size += _size(file)
        if len(chunk) == CHUNK_FILES or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _size(file: Path) -> int:
    """Bytes, 0 for a file that has gone: decoding it says so."""
    try:
        return file.stat().st_size
    except OSError:
        return 0
