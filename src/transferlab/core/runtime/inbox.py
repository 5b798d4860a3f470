"""Receives messages in a started process, and ends that process when the one that started it has gone."""

from __future__ import annotations

import os
import pickle
import queue
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any


class Inbox:
    """Receive messages through a pipe; when the other end closes, because its process is done or killed, end this one.

    A thread reads, so that this process ends even while its main thread works. A pipe closes when its last holder is
    gone: the starting process must not hand its own end on to others.
    """

    def __init__(self, end: Connection) -> None:
        self._end = end
        self._received: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def receive(self) -> Any:
        """Return the next message, as soon as there is one."""
        while True:
            # A signal that comes just before the wait begins does not end it, so no wait is for ever.
            with suppress(queue.Empty):
                return pickle.loads(self._received.get(timeout=1))  # noqa: S301 - of the process that started this one

    def _read(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._received.put(self._end.recv_bytes())
        os._exit(1)
