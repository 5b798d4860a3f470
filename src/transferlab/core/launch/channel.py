"""Pipes between a process and those that it starts to train, and what goes through them: pickled messages.

When the process that started the others closes a pipe, because it is done, given up or killed, the one at the other
end ends itself.
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
    """What ended the work of a process, when (seconds since 1970), and the traceback there."""

    error: Exception
    time: float
    traceback: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """The error that is being handled."""
        return cls(_picklable(error), time.time(), traceback.format_exc())


class Post:
    """The end of a started process, which lives no longer than the other one; its log goes that way, too."""

    def __init__(self, end: Connection) -> None:
        self._end = end
        self._sending = threading.Lock()  # other threads may log
        self._inbox = Inbox(end)

    def receive(self) -> Any:
        """The next message, as soon as there is one."""
        return self._inbox.receive()

    def put_nowait(self, message: object) -> None:
        """Send a message; named as a log handler wants it of a queue."""
        with self._sending:
            send(self._end, message)

    def take_log(self) -> None:
        """Log through the pipe, whatever the modules that were imported have set up."""
        log_with(QueueHandler(self))  # type: ignore[arg-type]


def send(end: Connection, message: object) -> None:
    """Send a message as bytes: torch's own pickling of tensors for other processes would fill /dev/shm."""
    end.send_bytes(pickle.dumps(message))


def log_with(handler: logging.Handler) -> None:
    """Send all that this process logs to one handler."""
    logging.basicConfig(handlers=[handler], format="%(message)s", force=True)
    logging.getLogger("transferlab").setLevel(logging.INFO)


def read(end: Connection) -> Any:
    """The next message of a started process.

    Raises:
        OSError: it has ended, maybe in the middle of a message.
    """
    try:
        return pickle.loads(end.recv_bytes())  # noqa: S301 - of a process that we started
    except EOFError as error:
        raise OSError("the process has ended") from error


def relay(sent: Progress | logging.LogRecord, report: ProgressCallback) -> None:
    """Tell here what a started process has told."""
    if isinstance(sent, Progress):
        report(sent)
    elif (logger := logging.getLogger(sent.name)).isEnabledFor(sent.levelno):
        logger.handle(sent)


def deaf_to_ctrl_c() -> None:
    """Block Ctrl-C in this thread, and so in the processes that it starts: while they import they would all shout."""
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # starting it later would unblock the signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _picklable(error: Exception) -> Exception:
    """The error, or one that says the same where it would not survive the way."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class RankError(MendableError):
    """A process of a trial was ended from outside."""


def how_ended(exitcode: int) -> str:
    """The signal or the code that a process has ended with; 128 + a signal is how it says that it has obeyed."""
    names = {number.value: number.name for number in signal.Signals}
    return names.get(exitcode - 128 if exitcode > 128 else -exitcode, f"exit code {exitcode}")
