"""Pipes between a process and the workers that it starts to train, and the pickled messages that go through them.

A worker exits when the process that started it closes the pipe: because it is done, has given up, or was killed.
"""

from __future__ import annotations

import logging
import pickle
import signal
import threading
import time
import traceback
from dataclasses import dataclass
from logging.handlers import QueueHandler
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from transferlab.core.errors import MendableError
from transferlab.core.runtime.inbox import Inbox
from transferlab.core.runtime.progress import Progress, ProgressCallback


@dataclass(frozen=True)
class Failure:
    """The error that ended a worker, when (seconds since 1970), and its traceback."""

    error: Exception
    time: float
    traceback: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Describe the error that is being handled."""
        return cls(_picklable(error), time.time(), traceback.format_exc())


class Post:
    """A worker's end of the pipe; the worker exits when the other end closes."""

    def __init__(self, end: Connection) -> None:
        self._end = end
        self._sending = threading.Lock()  # other threads may log
        self._inbox = Inbox(end)

    def receive(self) -> Any:
        """Wait for the next message."""
        return self._inbox.receive()

    def put_nowait(self, message: object) -> None:
        """Send a message; the name is the one that a log handler calls on a queue."""
        with self._sending:
            send(self._end, message)

    def take_log(self) -> None:
        """Log through the pipe, whatever imported modules have set up."""
        log_with(QueueHandler(self))  # type: ignore[arg-type]


def packed(message: object) -> bytes:
    """Return a message as bytes, for another process to unpack."""
    return pickle.dumps(message)


def unpacked(message: bytes) -> Any:
    """Return what `packed` was given; never call it on what a stranger may have written."""
    return pickle.loads(message)  # noqa: S301 - of a process of ours


def send(end: Connection, message: object) -> None:
    """Send a message as bytes: torch's own pickling of tensors for other processes would fill /dev/shm."""
    end.send_bytes(packed(message))


def log_with(handler: logging.Handler) -> None:
    """Send everything that this process logs to one handler."""
    logging.basicConfig(handlers=[handler], format="%(message)s", force=True)
    logging.getLogger("transferlab").setLevel(logging.INFO)


def read(end: Connection) -> Any:
    """Read the next message of a worker.

    Raises:
        OSError: the worker has ended, maybe in the middle of a message.
    """
    try:
        return unpacked(end.recv_bytes())
    except EOFError as error:
        raise OSError("the process has ended") from error


def relay(sent: Progress | logging.LogRecord, report: ProgressCallback) -> None:
    """Report or log here what a worker has sent."""
    if isinstance(sent, Progress):
        report(sent)
    elif (logger := logging.getLogger(sent.name)).isEnabledFor(sent.levelno):
        logger.handle(sent)


def deaf_to_ctrl_c() -> None:
    """Block SIGINT in this thread and its child processes, which would otherwise print tracebacks while importing."""
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # starting it later would unblock the signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _picklable(error: Exception) -> Exception:
    """Return the error, or one with the same message if it cannot be pickled."""
    try:
        unpacked(packed(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class RankError(MendableError):
    """A process that trained a trial was ended from outside."""


def how_ended(exitcode: int) -> str:
    """Name the signal or exit code that ended a process; 128 + a signal means that it obeyed the signal."""
    names = {number.value: number.name for number in signal.Signals}
    return names.get(exitcode - 128 if exitcode > 128 else -exitcode, f"exit code {exitcode}")
