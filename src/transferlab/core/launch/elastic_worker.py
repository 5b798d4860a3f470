"""Runs in each process that `elastic` starts: trains a trial as one of its ranks."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from multiprocessing.connection import Connection

import torch
from torch import distributed

from transferlab.core.launch.channel import Failure, Post, log_with
from transferlab.core.runtime.compute import Compute
from transferlab.core.runtime.device import resolve
from transferlab.core.training.trial import train_trial

# Ranks wait for rank 0 while it computes features, however long; the agent notices a rank that has died.
_PATIENCE = timedelta(days=30)
# A rank fails when another is killed. It stays this long, so that the agent sees first which one was killed.
_SECONDS_TO_STAY = 1.0


def run(ends: Sequence[Connection]) -> None:
    """Train as one of the ranks of a trial.

    Args:
        ends: of the pipes to the launching process, one per rank. Each rank receives the arguments `spec`, `folder` and
            `states` of `train_trial` through its own, and sends a failure; rank 0 also sends progress, log and result.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the launching process, which then closes the pipe
    rank = int(os.environ["RANK"])
    post = Post(ends[rank])
    try:
        if rank == 0:
            post.take_log()
        else:
            log_with(logging.NullHandler())
        spec, folder, states = post.receive()
        _join(spec.compute, rank)
        if rank == 0:
            post.put_nowait(train_trial(spec, folder, post.put_nowait, states))
        else:
            train_trial(spec, folder, lambda _: None, states)
        distributed.destroy_process_group()
        atexit.register(os._exit, 0)  # tearing down all modules takes seconds
    except Exception as error:
        with suppress(OSError):
            post.put_nowait(Failure.of(error))
        time.sleep(_SECONDS_TO_STAY)
        os._exit(1)


def _join(compute: Compute, rank: int) -> None:
    """Take this rank's device and join the other ranks."""
    on_cuda = resolve(compute).device.type == "cuda"
    if on_cuda:
        torch.cuda.set_device(rank)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo", timeout=_PATIENCE)
