"""Stops a run on Ctrl-C or SIGTERM without losing work. Schedulers send SIGTERM a while before they kill.

Both signals raise KeyboardInterrupt in the main thread, between two steps. If the last epoch is not saved yet, the
current one is finished first, so that its state can be written. Such epochs are short; see `training.state`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_asked: list[int] = []  # signals, in the order they came
_is_held = False
_main = os.getpid()


class Terminated(KeyboardInterrupt):
    """SIGTERM: a run is asked to end, as Ctrl-C does."""


@contextmanager
def stoppable() -> Iterator[None]:
    """While open, SIGTERM raises `Terminated`, and both signals wait for what is `held`."""
    global _main
    _main = os.getpid()
    defaults: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    ours = [number for number, handler in defaults.items() if signal.getsignal(number) == handler]
    if threading.current_thread() is not threading.main_thread():
        ours = []  # Python lets no other thread handle signals
    for number in ours:
        signal.signal(number, _on_signal)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, defaults[number])
        _asked.clear()


@contextmanager
def held(needed: bool) -> Iterator[None]:
    """Where `needed`, let the block finish before a stop takes effect; a second Ctrl-C takes effect at once."""
    global _is_held
    before, _is_held = _is_held, _is_held or needed
    try:
        yield
    finally:
        _is_held = before
    if not _is_held:
        check()


def is_asked() -> bool:
    """Whether the run is to stop."""
    return bool(_asked)


def check() -> None:
    """Stop here if the run is to stop.

    Raises:
        KeyboardInterrupt: it is (`Terminated` after SIGTERM).
        SystemExit: it is, and this is a fork of the process that is: that tells the user.
    """
    if not _asked:
        return
    if os.getpid() != _main:
        raise SystemExit(128 + _asked[0])
    raise Terminated if _asked[0] == signal.SIGTERM else KeyboardInterrupt


def _on_signal(number: int, _frame: FrameType | None) -> None:
    is_first, is_impatient = not _asked, number == signal.SIGINT and signal.SIGINT in _asked
    _asked.append(number)
    for child in multiprocessing.active_children():  # ParallelRunner's: a scheduler may signal the main process alone
        child.terminate()
    if is_impatient or (is_first and not _is_held):  # whoever signals a group and each of it asks no more than once
        check()
