"""Give many files to processes that may die or hang: the file that is at fault is quarantined, and no other.

Each process is driven by a thread of its own through a pipe of its own, so that ending one disturbs no other.
`concurrent.futures` gives up all its processes when one dies and has no timeouts; pebble has both, but its processes
share one pipe behind a lock, and it starts workers again for ever where none can live.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

from transferlab.core.runtime.inbox import Inbox

T = TypeVar("T")
CHUNK_FILES = 64
CHUNK_BYTES = 1 << 20  # of files: one large photograph, or many small ones, per message between processes
CHUNKS_PER_WORKER = 3  # in flight: enough to keep workers busy, few enough to bound the memory
PATIENCE_SECONDS = 120.0  # the largest image that is accepted takes a tenth of it, as JPEG 2000


@dataclass(frozen=True)
class Failed:
    """A file that gives no image, and the sentence that says why. Without a hash it killed or kept its process."""

    reason: str
    file_sha256: str | None = None


def run(
    task: Callable[[Path], T], files: Sequence[Path], workers: int, patience: float = PATIENCE_SECONDS
) -> Generator[T | Failed]:
    """Yield what `task` makes of every file, in order; the results of a few chunks are in memory at a time.

    The processes end with the iteration, whether it is finished, closed or interrupted.

    Args:
        task: can be pickled, and so can what it returns.
        files: what to give it.
        workers: processes; 0 does all in this one, which a malicious file can then kill or keep for ever.
        patience: seconds after which a file whose task does not end is given up; it may get twice as many.

    Raises:
        RuntimeError: no process can start.
    """
    if workers == 0:
        yield from map(task, files)
        return
    with _Team(workers, task, patience) as team:
        chunks = _chunks(files)
        pending: deque[Future[list[T | Failed | _Died]]] = deque()
        while True:
            for chunk in islice(chunks, CHUNKS_PER_WORKER * workers - len(pending)):
                pending.append(team.submit(chunk))
            if not pending:
                return
            for outcome in pending.popleft().result():
                if isinstance(outcome, _Died):
                    wait(pending)  # alone, it may have the memory that it lacked beside others
                    (outcome,) = team.submit([outcome.file]).result()
                yield Failed("Decoding it killed the process that did it.") if isinstance(outcome, _Died) else outcome


@dataclass(frozen=True)
class _Died:
    """The file at which a process died: that, or too little memory for all processes, killed it."""

    file: Path


class _LostError(Exception):
    """A process has died, or hangs, at one file of its chunk."""

    def __init__(self, place: int, is_hanging: bool) -> None:
        self.place, self.is_hanging = place, is_hanging


class _Worker(Generic[T]):
    """A process that does the task for chunks of files."""

    def __init__(self, task: Callable[[Path], T]) -> None:
        # Never forked from this process: its threads (torch's, BLAS's) could hold locks for ever.
        context: Any = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
        self._end, theirs = context.Pipe()
        self._place = context.RawValue("q")  # of the file in its chunk that is being decoded
        self._process = context.Process(target=_work, args=(theirs, self._place, task), daemon=True)
        self._process.start()
        theirs.close()

    def wait_until_ready(self) -> None:
        """Wait until the process can decode.

        Raises:
            RuntimeError: it has died before: a machine or a script on which no process lives, whatever the file.
        """
        try:
            self._end.recv()
        except (EOFError, OSError) as error:
            raise RuntimeError(
                "the processes that decode images cannot start; a script that calls this must do so under "
                "`if __name__ == '__main__':`, or decode in its own process (workers: 0)"
            ) from error

    def do(self, chunk: Sequence[Path], patience: float) -> list[T]:
        """Return what the task makes of every file of a chunk.

        Raises:
            _LostError: the process has died, or has been at one file for as long as `patience`.
        """
        last = -1
        self._place.value = 0
        try:
            self._end.send(chunk)
            while not self._end.poll(patience):
                if self._place.value == last:
                    raise _LostError(last, is_hanging=True)
                last = self._place.value
            outcomes: list[T] = self._end.recv()
        except (EOFError, OSError):
            raise _LostError(self._place.value, is_hanging=False) from None
        return outcomes

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()


class _Team(Generic[T]):
    """Threads that each drive a worker, and replace it when it is lost. A context that ends them all."""

    def __init__(self, size: int, task: Callable[[Path], T], patience: float) -> None:
        self._task, self._patience = task, patience
        self._threads = ThreadPoolExecutor(size)
        self._own = threading.local()
        self._workers: list[_Worker[T]] = []
        self._is_over = False

    def __enter__(self) -> _Team[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._end_workers()  # their threads then find the pipes closed
        self._threads.shutdown(cancel_futures=True)
        self._end_workers()  # one may have been started meanwhile

    def submit(self, chunk: Sequence[Path]) -> Future[list[T | Failed | _Died]]:
        """Have the task done for a chunk."""
        return self._threads.submit(self._do, chunk)

    def _do(self, chunk: Sequence[Path]) -> list[T | Failed | _Died]:
        """Return what came of each file; what a lost worker had made of others is made again."""
        if not chunk:
            return []
        try:
            return [*self._worker().do(chunk, self._patience)]
        except _LostError as lost:
            self._own.worker.end()
            del self._own.worker
            if self._is_over:
                raise
            given_up = Failed(f"Decoding it did not end: it was given up after {self._patience:g} seconds.")
            outcome = given_up if lost.is_hanging else _Died(chunk[lost.place])
            others = self._do([*chunk[: lost.place], *chunk[lost.place + 1 :]])
            return [*others[: lost.place], outcome, *others[lost.place :]]

    def _worker(self) -> _Worker[T]:
        """Return this thread's own worker."""
        if not hasattr(self._own, "worker"):
            self._own.worker = _Worker(self._task)
            self._workers.append(self._own.worker)
            self._own.worker.wait_until_ready()
        worker: _Worker[T] = self._own.worker
        return worker

    def _end_workers(self) -> None:
        for worker in list(self._workers):
            worker.end()


def _work(end: Connection, place: Any, task: Callable[[Path], Any]) -> None:
    """Do the task for the chunks that come, until the pipe closes; `place` tells the other process how far."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; what it ends is the parent's matter
    inbox = Inbox(end)
    end.send("ready")
    while True:
        outcomes = []
        for place.value, file in enumerate(inbox.receive()):
            outcomes.append(task(file))
        end.send(outcomes)


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
