"""Runs in Ray's processes: trains what the launcher sends, and posts progress and log to it."""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from logging.handlers import QueueHandler
from pathlib import Path
from typing import Any

from transferlab.core.errors import MendableError
from transferlab.core.launch import elastic, ray_node
from transferlab.core.launch.channel import Failure, log_with, packed, unpacked
from transferlab.core.launch.launcher import Outcome, outcome
from transferlab.core.launch.ray_mailbox import Sender, may_begin
from transferlab.core.launch.ray_node import NodeReport
from transferlab.core.runtime import interrupt
from transferlab.core.training import together
from transferlab.core.training.spec import TrialSpec
from transferlab.core.training.trial import train_trial

logger = logging.getLogger(__name__)


def train(job: bytes, initial: bytes, mailbox: Any) -> tuple[bytes, bytes]:
    """Train one trial, or several whose heads train together.

    All arguments but the mailbox are pickled, since the arrays that Ray itself hands over cannot be written to.

    Args:
        job: the launch, the job's name there, its trials without their initial model, the folders `folder` and
            `states` of `train_trial`, and what the launcher knows of all nodes.
        initial: the initial model of all.
        mailbox: an actor, see `Mailbox`.

    Returns:
        How it ended: True, False if the launch was stopped before or several trials cannot train together, or a
        failure; and the outcomes by number. They are apart, since whoever looks for the end need not fetch all weights.
    """
    launch, name, specs, folder, states, expected = unpacked(job)
    if not may_begin(mailbox, launch, name):
        return packed(False), packed({})
    sender = Sender(mailbox, (launch, specs[0].name))
    checkpoint = unpacked(initial)
    log_with(QueueHandler(sender))  # type: ignore[arg-type]
    try:
        with interrupt.stoppable():  # a cancelled task saves its epoch first, as after Ctrl-C
            found = _train([replace(spec, initial=checkpoint) for spec in specs], (folder, states), sender, expected)
            ended: bool | Failure = bool(found)
    except Exception as error:
        found, ended = {}, Failure.of(error)
    sender.flush()
    return packed(ended), packed(found)


def _train(
    specs: Sequence[TrialSpec], folders: tuple[Path, Path | None], sender: Sender, expected: NodeReport
) -> Mapping[int, Outcome]:
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
        return together.train(specs, folders[0], sender.put_nowait, folders[1]) or {}
    train_one = elastic.train_on_devices if compute.devices > 1 else train_trial
    return {first.trial: outcome(train_one, first, folders[0], sender.put_nowait, folders[1])}
