"""Runs in Ray's processes: trains what the launcher sends, and posts progress and log to it."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from logging.handlers import QueueHandler
from pathlib import Path
from typing import Any

from transferlab.core.errors import MendableError
from transferlab.core.launch import elastic, ray_node
from transferlab.core.launch.channel import Failure, log_with, packed, unpacked
from transferlab.core.launch.launcher import outcome
from transferlab.core.launch.ray_node import NodeReport
from transferlab.core.runtime import interrupt
from transferlab.core.runtime.progress import Progress
from transferlab.core.training import together
from transferlab.core.training.spec import TrialSpec
from transferlab.core.training.trial import train_trial

logger = logging.getLogger(__name__)
# What single steps tell is sent so often at most.
SECONDS_BETWEEN_STEPS = 0.25
_PATIENCE_SECONDS = 10.0


class Mailbox:
    """An actor beside the launcher, which keeps what workers post until the launcher takes it."""

    def __init__(self) -> None:
        self._messages: list[bytes] = []

    def put(self, message: bytes) -> None:
        """Keep a message."""
        self._messages.append(message)

    def take(self) -> list[bytes]:
        """Return all messages, in the order in which they came."""
        taken, self._messages = self._messages, []
        return taken


class Sender:
    """A worker's way to the mailbox; that the mailbox is lost with its node does not stop a trial."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox, self._sent = mailbox, 0.0
        self._last: Any = None

    def put_nowait(self, message: object) -> None:
        """Send a message; of those about single steps, some."""
        now = time.monotonic()
        is_step = isinstance(message, Progress) and message.loss is None
        if is_step and now - self._sent < SECONDS_BETWEEN_STEPS:
            return
        self._sent = now if is_step else self._sent
        self._last = self._mailbox.put.remote(packed(message))

    def flush(self) -> None:
        """Wait until all is in the mailbox: a result may overtake it."""
        import ray

        with suppress(ray.exceptions.RayError):
            if self._last is not None:
                ray.get(self._last, timeout=_PATIENCE_SECONDS)


def train(job: bytes, initial: bytes, mailbox: Any) -> bytes:
    """Train one trial, or several whose heads train together.

    All arguments but the mailbox are pickled, since the arrays that Ray itself hands over cannot be written to.

    Args:
        job: the trials without their initial model, the folders `folder` and `states` of `train_trial`, and what the
            launcher knows of all nodes.
        initial: the initial model of all.
        mailbox: an actor, see `Mailbox`.

    Returns:
        The outcome of a single trial; of several, their outcomes by number, or None if they cannot train together; or
        a failure.
    """
    sender = Sender(mailbox)
    specs, folder, states, expected = unpacked(job)
    checkpoint = unpacked(initial)
    log_with(QueueHandler(sender))  # type: ignore[arg-type]
    try:
        with interrupt.stoppable():  # a cancelled task saves its epoch first, as after Ctrl-C
            found = _train([replace(spec, initial=checkpoint) for spec in specs], (folder, states), sender, expected)
    except Exception as error:
        found = Failure.of(error)
    sender.flush()
    return packed(found)


def _train(specs: Sequence[TrialSpec], folders: tuple[Path, Path | None], sender: Sender, expected: NodeReport) -> Any:
    first, compute = specs[0], specs[0].compute
    report = ray_node.report_of(compute)
    if (report.versions, report.machine) != (expected.versions, expected.machine):
        raise MendableError(
            f"training.compute.address: {platform.node()} joined the cluster and is not like its other nodes: it is "
            f"{report}, they are {expected}. Install the same there, or stop that node (`ray stop`), and run again"
        )
    trials = f"trial {first.trial + 1}" if len(specs) == 1 else f"{len(specs)} trials together"
    threads = f"{compute.threads} thread{'' if compute.threads == 1 else 's'}"
    device = f"{report.machine.device.type} of {platform.node()} ({report.machine.device_name})"
    logger.info("%s: %s on the %s, %s", first.name, trials, device, threads)
    if len(specs) > 1:
        return together.train(specs, folders[0], sender.put_nowait, folders[1])
    train_one = elastic.train_on_devices if compute.devices > 1 else train_trial
    return outcome(train_one, first, folders[0], sender.put_nowait, folders[1])
