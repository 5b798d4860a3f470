"""Launches trials on a Ray cluster: one task for each, wherever there are CPUs and GPUs for it.

A trial whose worker or node is lost goes on elsewhere at its last saved epoch, since all nodes share the folder of the
states. Longest first, so that the cluster is busy to the end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from transferlab.core.launch import ray_cluster, ray_worker
from transferlab.core.launch.channel import Failure, RankError, packed, relay, unpacked
from transferlab.core.launch.launcher import Outcome
from transferlab.core.launch.ray_check import first_line
from transferlab.core.launch.ray_cluster import Cluster
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.runtime import interrupt
from transferlab.core.runtime.progress import Progress, ProgressCallback
from transferlab.core.training import together
from transferlab.core.training.spec import TrialSpec
from transferlab.core.training.state import finished_epochs, state_path

logger = logging.getLogger(__name__)
# A trial that is lost so often without a new epoch is given up: it is likely to be what its workers die of.
MOST_LOSSES = 3
_SECONDS_BETWEEN_LOOKS = 0.1


def launch(
    specs: Sequence[TrialSpec], folder: Path, report: ProgressCallback, states: Path | None
) -> Iterator[tuple[int, Outcome]]:
    """Train the trials on the cluster of `training.compute.address`; see `Launcher`.

    Raises:
        ClusterError: the cluster cannot be joined, or its nodes differ.
        RankError: a trial was lost again and again.
        Exception: what a trial raised, but for DivergedError. The others have saved what they had, as after Ctrl-C.
    """
    specs = [replace(spec, compute=ray_cluster.compute_of_each(spec.compute)) for spec in specs]
    first = specs[0]
    splits = [split for spec in specs for split in (spec.train, spec.held_out) if split]
    stores = {split.store.folder / "header.json": None for split in splits}
    cluster = ray_cluster.join(first.compute, [folder, *([states] if states else [])], list(stores))
    tasks = _Tasks(cluster, (folder.absolute(), states.absolute() if states else None), first.initial, report)
    try:
        if together.could_train(specs):
            tasks.start(_Job(specs))
            ((_, found),) = tasks.all_ended()
            if found is not None:
                yield from cast("Mapping[int, Outcome]", found).items()
                return
        for job, found in _fan_out(tasks, specs, states):
            yield job.specs[0].trial, found
    except BaseException:
        tasks.cancel()
        interrupt.check()  # whatever signal it was, Ray raises a bare KeyboardInterrupt
        raise
    finally:
        tasks.close()


def _fan_out(tasks: _Tasks, specs: Sequence[TrialSpec], states: Path | None) -> Iterator[tuple[_Job, Any]]:
    """Train each trial as a task, the one with the most epochs left first.

    If trials share the outputs of frozen layers, the others wait until the first one has stored them.
    """
    jobs = [_Job([spec]) for spec in sorted(specs, key=lambda spec: _epochs_left(spec, states), reverse=True)]
    stages = list(specs[0].strategy.stages.values())
    are_shared = bool(stages and stages[0].distinct_views and specs[0].initial.header.pretrained)
    at_first = 1 if are_shared else len(jobs)
    for job in jobs[:at_first]:
        tasks.start(job)
    waiting = jobs[at_first:]
    while tasks.are_running or waiting:
        yield from tasks.ended()
        if waiting and (tasks.has_trained or not tasks.are_running):
            for job in waiting:
                tasks.start(job)
            waiting = []


def _epochs_left(spec: TrialSpec, states: Path | None) -> int:
    return spec.strategy.epochs - _epochs(spec, states)


def _epochs(spec: TrialSpec, states: Path | None) -> int:
    """Return the number of epochs after which a trial would go on."""
    if states is None:
        return 0
    with suppress(FileNotFoundError):
        return finished_epochs(state_path(states, spec.trial))
    return 0


@dataclass
class _Job:
    """A task: one trial, or several whose heads train together.

    Attributes:
        specs: of the trials.
        epochs: saved when it was last lost.
        losses: how often it was lost since an epoch was saved.
    """

    specs: Sequence[TrialSpec]
    epochs: int = 0
    losses: int = 0

    def __str__(self) -> str:
        first = self.specs[0]
        return f"{first.name}: " + (f"trial {first.trial + 1}" if len(self.specs) == 1 else "all trials")


class _Tasks:
    """The tasks that run, and the mailbox that they post to."""

    def __init__(
        self, cluster: Cluster, folders: tuple[Path, Path | None], initial: Checkpoint, report: ProgressCallback
    ) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._cluster, self._folders, self._report = cluster, folders, report
        self._initial = ray.put(packed(initial))  # once for all: it is most of what a task needs
        self._running: dict[Any, _Job] = {}
        self._train = ray.remote(ray_worker.train).options(max_retries=0, **cluster.needs)
        # Beside this process: on another node it could be lost with that.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        mailbox: Any = ray.remote(ray_worker.Mailbox).options(num_cpus=0, max_restarts=-1, scheduling_strategy=here)
        self._mailbox: Any = mailbox.remote()
        self.has_trained = False

    @property
    def are_running(self) -> bool:
        """Whether a task has not ended."""
        return bool(self._running)

    def start(self, job: _Job) -> None:
        """Have a job done as soon as a node has room for it."""
        light = [replace(spec, initial=replace(spec.initial, tensors={})) for spec in job.specs]
        message = packed((light, *self._folders, self._cluster.report))
        self._running[self._train.remote(message, self._initial, self._mailbox)] = job

    def all_ended(self) -> list[tuple[_Job, Any]]:
        """Wait for all tasks; return the jobs and what came of them."""
        found: list[tuple[_Job, Any]] = []
        while self._running:
            found += self.ended()
        return found

    def ended(self) -> list[tuple[_Job, Any]]:
        """Wait a moment, relay what was posted, and return the jobs that are done and what came of them.

        Raises:
            RankError: a job was lost again and again.
            Exception: what a job raised.
        """
        import ray

        done, _ = ray.wait(list(self._running), timeout=_SECONDS_BETWEEN_LOOKS)
        self._relay()
        found = []
        for ref in done:
            job = self._running.pop(ref)
            try:
                message = unpacked(ray.get(ref))
            except ray.exceptions.RayTaskError:
                raise
            except ray.exceptions.RayError as error:
                self._start_again(job, error)
                continue
            if isinstance(message, Failure):
                raise message.error from RuntimeError(f"in a process of its own:\n{message.traceback}")
            found.append((job, message))
        return found

    def _start_again(self, job: _Job, error: Exception) -> None:
        """Start a job whose worker was lost, unless that has happened too often."""
        epochs = _epochs(job.specs[0], self._folders[1])
        job.losses = job.losses + 1 if epochs == job.epochs else 1
        job.epochs = epochs
        how = first_line(error)
        if job.losses >= MOST_LOSSES:
            raise RankError(
                f"strategies.{job} was lost {job.losses} times without a new epoch, the last time by {how}. Often "
                "memory ran out: more training.compute.threads leave room for fewer trials on a node, and a smaller "
                "training.compute.micro_batch needs less. What was finished is kept: run again to go on"
            ) from error
        logger.warning("%s: its worker was lost (%s); it goes on after epoch %d on another", job, how, epochs)
        self.start(job)

    def _relay(self) -> None:
        import ray

        with suppress(ray.exceptions.RayActorError):  # it is being started again
            for message in map(unpacked, ray.get(self._mailbox.take.remote())):
                self.has_trained |= isinstance(message, Progress) and message.doing is None
                relay(message, self._report)

    def cancel(self) -> None:
        """Stop all tasks, and wait until each has saved its epoch and ended."""
        import ray

        for ref in self._running:
            ray.cancel(ref)
        if self._running:
            ray.wait(list(self._running), num_returns=len(self._running))

    def close(self) -> None:
        """End the mailbox."""
        import ray

        ray.kill(self._mailbox)
