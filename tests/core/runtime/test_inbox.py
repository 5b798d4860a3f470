"""Messages to a started process."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

import pytest

from transferlab.core.runtime.inbox import Inbox


def wait_with_a_signal_that_does_not_wake(end: Connection) -> None:
    """Receive, while SIGTERM is handled by a thread that is not the waiting one, as it is just before a wait."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
    other = threading.Thread(target=time.sleep, args=(60,), daemon=True)
    inbox = Inbox(end)
    other.start()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    end.send_bytes(b"ready")
    inbox.receive()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that a thread can block")
def test_a_signal_is_obeyed_while_waiting_even_if_it_does_not_wake_the_wait():
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=wait_with_a_signal_that_does_not_wake, args=(theirs,), daemon=True)
    process.start()
    assert ours.recv_bytes() == b"ready"
    process.terminate()
    process.join(10)
    assert process.exitcode == 7


def test_the_process_ends_when_the_other_end_closes():
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=wait_with_a_signal_that_does_not_wake, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    assert ours.recv_bytes() == b"ready"
    ours.close()
    process.join(10)
    assert process.exitcode == 1
