"""Launches trials on a Ray cluster: those of all strategies at the same time, wherever there are CPUs and GPUs for one.

Those with the most to compute come first, so that the cluster is busy to the end.
"""

from __future__ import annotations

import atexit
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transferlab.core.launch import ray_cluster, work
from transferlab.core.launch.channel import packed, relay
from transferlab.core.launch.launcher import Outcome
from transferlab.core.launch.ray_tasks import Job, Tasks, epochs_of
from transferlab.core.runtime import interrupt
from transferlab.core.runtime.progress import Progress, ProgressCallback
from transferlab.core.training import together
from transferlab.core.training.spec import TrialSpec


@dataclass(frozen=True)
class Batch:
    """The trials of a strategy that are to be trained, and the folders of `train_trial`."""

    specs: Sequence[TrialSpec]
    folder: Path
    states: Path | None


def launch(
    specs: Sequence[TrialSpec], folder: Path, report: ProgressCallback, states: Path | None
) -> Iterator[tuple[int, Outcome]]:
    """Train the trials of one strategy on the cluster of `training.compute.address`; see `Launcher`.

    Raises:
        ClusterError: the cluster cannot be joined, or its nodes differ.
        RankError: a trial was lost again and again.
        Exception: what a trial raised, but for DivergedError. The others have saved what they had, as after Ctrl-C.
    """
    yield from Queue([Batch(specs, folder, states)], lambda _: report).launch(specs, folder, report, states)


@dataclass
class _Strategy:
    """The trials of a strategy in the queue.

    Attributes:
        report: is told of them.
        flops: of a pass of one image.
        left: trials that have not ended.
        together: whether one job trains all, if it can; those that wait are for where it cannot.
        waiting: jobs that begin when the first one has stored the outputs of frozen layers that all share, or has found
            that they cannot train together.
        ended: jobs whose results nobody has taken yet.
        has_trained: whether it has.
        latest: what each trial has told last.
    """

    report: ProgressCallback
    flops: int
    left: set[int]
    together: bool = False
    waiting: list[Job] = field(default_factory=list)
    ended: deque[Job] = field(default_factory=deque)
    has_trained: bool = False
    latest: dict[int, Progress] = field(default_factory=dict)


class Queue:
    """All trials of a run on a cluster.

    They begin when it is made. `launch` waits for those of one strategy, while the others go on; what comes of them
    stays with Ray until then.

    Args:
        batches: strategies with different names, all with the same compute settings.
        report: returns what is to be told of a strategy's trials before somebody waits for them.

    Raises:
        ClusterError: the cluster cannot be joined, or its nodes differ.
    """

    def __init__(self, batches: Sequence[Batch], report: Callable[[str], ProgressCallback]) -> None:
        specs = [spec for batch in batches for spec in batch.specs]
        compute = ray_cluster.compute_of_each(specs[0].compute)
        folders = [folder for batch in batches for folder in (batch.folder, batch.states) if folder]
        splits = [split for spec in specs for split in (spec.train, spec.held_out) if split]
        stores = dict.fromkeys(split.store.folder / "header.json" for split in splits)
        self._tasks = Tasks(ray_cluster.join(compute, list(dict.fromkeys(folders)), list(stores)), self._tell)
        self._strategies: dict[str, _Strategy] = {}
        jobs = [job for batch in batches for job in self._jobs(batch, report)]
        atexit.register(_cancel, weakref.ref(self))
        self._start(jobs)

    def launch(
        self, specs: Sequence[TrialSpec], folder: Path, report: ProgressCallback, states: Path | None
    ) -> Iterator[tuple[int, Outcome]]:
        """Wait for the trials of a strategy; see `Launcher`.

        Raises:
            RankError: a trial was lost again and again.
            Exception: what a trial raised, of whichever strategy, but for DivergedError.
        """
        strategy = self._strategies[specs[0].name]
        for at in strategy.latest.values():
            report(replace(at, loss=None))  # it was told before how that went
        strategy.report = report
        try:
            while strategy.left:
                while strategy.ended:
                    yield from self._taken(strategy, strategy.ended.popleft())
                if strategy.left:
                    self._look()
            strategy.waiting.clear()  # and with them the initial model
        except BaseException:
            self.cancel()
            interrupt.check()  # whatever signal it was, Ray raises a bare KeyboardInterrupt
            raise

    def cancel(self) -> None:
        """Stop all trials, and wait until each has saved its epoch."""
        self._tasks.cancel()

    def _jobs(self, batch: Batch, report: Callable[[str], ProgressCallback]) -> Iterator[Job]:
        """Enter a strategy; yield the jobs that may begin at once."""
        import ray

        first, folder, states = batch.specs[0], batch.folder.absolute(), batch.states and batch.states.absolute()
        initial = ray.put(packed(first.initial))  # once for all
        strategy = _Strategy(report(first.name), work.flops_of_image(first.initial), {s.trial for s in batch.specs})
        self._strategies[first.name] = strategy
        compute = ray_cluster.compute_of_each(first.compute)
        specs = [replace(spec, compute=compute).without_weights() for spec in batch.specs]
        jobs = [Job([spec], folder, states, initial) for spec in specs]
        if together.could_train(specs):
            strategy.waiting, strategy.together = jobs, True
            yield Job(specs, folder, states, initial)
            return
        jobs.sort(key=self._work, reverse=True)
        stages = list(first.strategy.stages.values())
        at_first = 1 if stages and stages[0].distinct_views and first.initial.header.pretrained else len(jobs)
        strategy.waiting = jobs[at_first:]
        yield from jobs[:at_first]

    def _work(self, job: Job) -> float:
        first = job.specs[0]
        return self._strategies[job.name].flops * work.passes(first, epochs_of(first, job.states)) * len(job.specs)

    def _start(self, jobs: Sequence[Job]) -> None:
        for job in sorted(jobs, key=self._work, reverse=True):
            self._tasks.start(job)

    def _look(self) -> None:
        """Wait a moment for something to happen, and start what waited for it."""
        for job in self._tasks.ended():
            strategy = self._strategies[job.name]
            if job.result is not None:
                strategy.ended.append(job)
            strategy.has_trained |= job.result is None or len(job.specs) == 1
        for strategy in self._strategies.values():
            if strategy.waiting and strategy.has_trained:
                self._start(strategy.waiting)
                strategy.waiting = []

    def _taken(self, strategy: _Strategy, job: Job) -> Iterator[tuple[int, Outcome]]:
        """Yield what came of a job."""
        found = self._tasks.result(job)
        if found is not None:
            strategy.left -= found.keys()
            yield from found.items()

    def _tell(self, name: str, message: Any) -> None:
        """Report or log what a trial tells."""
        strategy = self._strategies[name]
        if isinstance(message, Progress):
            strategy.has_trained |= message.doing is None and not strategy.together
            strategy.latest[message.trial] = message
        relay(message, strategy.report)


def _cancel(queue: weakref.ref[Queue]) -> None:
    """Stop what still trains when this process ends, such as after an error elsewhere."""
    if found := queue():
        found.cancel()
