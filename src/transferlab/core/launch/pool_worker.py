"""Runs in each process that `pool` starts: trains the trials that it is sent, one after the other."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection

import torch

from transferlab.core.launch.channel import Failure, Post
from transferlab.core.launch.launcher import outcome
from transferlab.core.runtime import interrupt
from transferlab.core.runtime.device import resolve
from transferlab.core.training.trial import train_trial


def run(end: Connection, number: int) -> None:
    """Train until the pipe closes or, after SIGTERM, until the current epoch is saved.

    Args:
        end: of the pipe to the starting process. The arguments `spec`, `folder` and `states` of `train_trial` come
            through it, trial by trial; progress, log and the outcome or a failure go back.
        number: of this process among its siblings, from 0; it counts through the GPUs, so that
            more processes than GPUs share them.
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
            torch.cuda.set_device(number % torch.cuda.device_count())
        post.put_nowait(outcome(train_trial, spec, folder, post.put_nowait, states))
    except Exception as error:
        post.put_nowait(Failure.of(error))
