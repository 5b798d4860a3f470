"""A process that trains a trial with others, as one of its ranks: what `launch` starts."""

from __future__ import annotations

import atexit
import logging
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import distributed

from transferlab.core.device import Compute, choose
from transferlab.core.trial import train_trial

# Ranks wait for rank 0 while it computes features, however long; one that has died is seen by the agent, not by this.
_PATIENCE = timedelta(days=30)
# A rank fails when another is killed. It stays for so many seconds, for the agent to see which of them was killed.
_SECONDS_TO_STAY = 1.0


@dataclass(frozen=True)
class Failure:
    """What ended a rank, when (seconds since 1970), and the traceback there."""

    error: Exception
    time: float
    traceback: str


def run(ends: Sequence[Connection]) -> None:
    """Train as one of the ranks of a trial.

    Args:
        ends: of the pipes to the launching process, one per rank. Through its own, each rank receives the pickled
            arguments `spec`, `folder` and `states` of `train_trial` and sends what ended it; rank 0 also sends its
            progress, its log and the result.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the launching process, which then closes the pipe
    rank = int(os.environ["RANK"])
    job = ends[rank].recv_bytes()
    outbox = _Outbox(ends[rank])
    outbox.end_process_when_closed()
    try:
        _send_log(outbox if rank == 0 else None)
        spec, folder, states = pickle.loads(job)  # noqa: S301 - of the launching process
        _join(spec.compute, rank)
        if rank == 0:
            outbox.put_nowait(train_trial(spec, folder, outbox.put_nowait, states))
        else:
            train_trial(spec, folder, lambda _: None, states)
        distributed.destroy_process_group()
        atexit.register(os._exit, 0)  # without taking all modules apart, which takes seconds
    except Exception as error:
        with suppress(OSError):
            outbox.put_nowait(Failure(_picklable(error), time.time(), traceback.format_exc()))
        time.sleep(_SECONDS_TO_STAY)
        os._exit(1)


class _Outbox:
    """A rank's end of its pipe; stands for a queue where a log handler wants one."""

    def __init__(self, end: Connection) -> None:
        self._end = end

    def put_nowait(self, message: Any) -> None:
        # As bytes: torch's own pickling of tensors for other processes would fill /dev/shm.
        self._end.send_bytes(pickle.dumps(message))

    def end_process_when_closed(self) -> None:
        """From now on, end this process when nobody holds the other end: the launching one has died or given up."""

        def watch() -> None:
            with suppress(EOFError, OSError):
                self._end.recv_bytes()
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _join(compute: Compute, rank: int) -> None:
    """Take this rank's device and find the other ranks."""
    on_cuda = choose(compute).device.type == "cuda"
    if on_cuda:
        torch.cuda.set_device(rank)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo", timeout=_PATIENCE)


def _send_log(outbox: _Outbox | None) -> None:
    """Log into the outbox, or nowhere, whatever the modules that were imported have set up."""
    handler = QueueHandler(outbox) if outbox else logging.NullHandler()  # type: ignore[arg-type]
    logging.basicConfig(handlers=[handler], format="%(message)s", force=True)
    logging.getLogger("transferlab").setLevel(logging.INFO)


def _picklable(error: Exception) -> Exception:
    """The error, or one that says the same where it would not survive the way."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
