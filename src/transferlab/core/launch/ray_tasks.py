"""Tasks of a Ray cluster, each of which trains a trial, or several whose heads train together.

One whose worker or node is lost goes on elsewhere at its last saved epoch, since all nodes share the folder of the
states.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from transferlab.core.launch import ray_mailbox, ray_worker
from transferlab.core.launch.channel import Failure, RankError, packed, unpacked
from transferlab.core.launch.ray_check import first_line, task
from transferlab.core.launch.ray_cluster import Cluster
from transferlab.core.training.spec import TrialSpec
from transferlab.core.training.state import finished_epochs, state_path

logger = logging.getLogger(__name__)
# A trial that is lost so often without a new epoch is given up: it is likely to be what its workers die of.
MOST_LOSSES = 3
_SECONDS_BETWEEN_LOOKS = 0.1


@dataclass
class Job:
    """What a task does: one trial, or several whose heads train together.

    Attributes:
        specs: of the trials, without the initial model.
        folder: see `train_trial`; absolute.
        states: likewise.
        initial: Ray's reference to the initial model of all.
        epochs: saved when it was last lost.
        losses: how often it was lost since an epoch was saved.
        result: Ray's reference to what came of it, once it has ended; None if they cannot train together.
    """

    specs: Sequence[TrialSpec]
    folder: Path
    states: Path | None
    initial: Any
    epochs: int = 0
    losses: int = 0
    result: Any = None

    def __str__(self) -> str:
        return f"{self.name}: " + (f"trial {self.specs[0].trial + 1}" if len(self.specs) == 1 else "all trials")

    @property
    def name(self) -> str:
        """The strategy's."""
        return self.specs[0].name


class Tasks:
    """The tasks that run, and the mailbox that they post to.

    Args:
        cluster: where.
        tell: is called with a strategy's name, and the progress or log record of one of its trials.
    """

    def __init__(self, cluster: Cluster, tell: Callable[[str, Any], None]) -> None:
        self._report, self._tell = cluster.report, tell
        self._running: dict[Any, tuple[Job, Any, str]] = {}  # by what tells that it has ended and how; a name for each
        self._train = task(ray_worker.train, num_returns=2, **cluster.needs)
        self._mailbox, self._launch = ray_mailbox.mailbox(), uuid4().hex

    def start(self, job: Job) -> None:
        """Have a job done as soon as a node has room for it, after those that were started before."""
        name = uuid4().hex
        message = packed((self._launch, name, job.specs, job.folder, job.states, self._report))
        end, result = self._train.remote(message, job.initial, self._mailbox)
        self._running[end] = job, result, name

    def ended(self) -> list[Job]:
        """Wait a moment, relay what was posted, and return the jobs that have ended since; start lost ones again.

        Raises:
            RankError: a job was lost again and again.
            Exception: what a job raised.
        """
        import ray

        done, _ = ray.wait(list(self._running), timeout=_SECONDS_BETWEEN_LOOKS) if self._running else ([], [])
        for launch, name, message in ray_mailbox.taken(self._mailbox):
            if launch == self._launch:  # else of one that was stopped
                self._tell(name, message)
        found = []
        for end in done:
            job, result, _ = self._running.pop(end)
            how = self._got(job, end)
            if isinstance(how, Failure):
                raise how.error from RuntimeError(f"in a process of its own:\n{how.traceback}")
            if how is not None:
                job.result = result if how else None
                found.append(job)
        return found

    def result(self, job: Job) -> Any:
        """Return what came of a job that has ended; None if that was lost, and the job is started again."""
        return self._got(job, job.result)

    def cancel(self) -> None:
        """Stop all tasks, and wait until each that has begun has saved its epoch and ended.

        Those that have not begun end as soon as they do. Ray is not asked to cancel them: it aborts this process where
        one begins meanwhile.
        """
        import ray

        if not self._running:
            return
        names = ray_mailbox.begun(self._mailbox, self._launch)
        begun = [end for end, (_, _, name) in self._running.items() if names is None or name in names]
        for end in begun:
            ray.cancel(end)
        if begun:
            ray.wait(begun, num_returns=len(begun))
        self._running.clear()

    def _got(self, job: Job, ref: Any) -> Any:
        """Return what a reference stands for; None if that was lost, and the job is started again."""
        import ray

        try:
            return unpacked(ray.get(ref))
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError as error:
            self._start_again(job, error)
            return None

    def _start_again(self, job: Job, error: Exception) -> None:
        """Start a job whose worker was lost, unless that has happened too often."""
        epochs = epochs_of(job.specs[0], job.states)
        job.losses = job.losses + 1 if epochs == job.epochs else 1
        job.epochs = epochs
        how = first_line(error).partition(". ")[0]
        if job.losses >= MOST_LOSSES:
            raise RankError(
                f"strategies.{job} was lost {job.losses} times without a new epoch, the last time by {how}. Often "
                "memory ran out: more training.compute.threads leave room for fewer trials on a node, and a smaller "
                "training.compute.micro_batch needs less. What was finished is kept: run again to go on"
            ) from error
        logger.warning("%s: its worker was lost (%s); it goes on after epoch %d on another", job, how, epochs)
        self.start(job)


def epochs_of(spec: TrialSpec, states: Path | None) -> int:
    """Return the number of epochs after which a trial would go on."""
    if states is None:
        return 0
    with suppress(FileNotFoundError):
        return finished_epochs(state_path(states, spec.trial))
    return 0
