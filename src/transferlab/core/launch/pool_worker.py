"""A process that trains trials, one after the other, beside others that do so: what `parallel` starts."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection

import torch

from transferlab.core.launch.channel import Failure, Post
from transferlab.core.launch.inline import outcome
from transferlab.core.runtime import interrupt
from transferlab.core.runtime.device import resolve


def run(end: Connection, number: int) -> None:
    """Train what comes, until the pipe closes or, after SIGTERM, what is not saved has been.

    Args:
        end: of the pipe to the starting process. Through it come the arguments `spec`, `folder` and `states` of
            `train_trial`, one trial after the other; back go progress, log, and the outcome or what failed.
        number: of this process among its siblings, from 0; that of its GPU.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the starting process, which sends SIGTERM then
    post = Post(end)
    post.take_log()
    try:
        with interrupt.stoppable():
            while True:
                _train_next(post, number)
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGTERM)


def _train_next(post: Post, number: int) -> None:
    spec, folder, states = post.receive()
    try:
        if resolve(spec.compute).device.type == "cuda":
            torch.cuda.set_device(number)
        post.put_nowait(outcome(spec, folder, post.put_nowait, states))
    except Exception as error:
        post.put_nowait(Failure.of(error))
