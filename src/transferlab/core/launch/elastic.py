"""Launches trials data-parallel: each in one process per device, one trial after the other.

Torch's elastic agent starts the processes and ends them all when one fails. A pipe leads from each to this process.
Progress, log, errors and the result come through it; when it closes, because the launch is over, given up or killed,
the process at the other end exits.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NoReturn, cast

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from transferlab.core.launch import elastic_worker
from transferlab.core.launch.channel import Failure, RankError, deaf_to_ctrl_c, how_ended, read, relay, send
from transferlab.core.launch.launcher import Outcome, outcome
from transferlab.core.runtime.device import resolve
from transferlab.core.runtime.progress import ProgressCallback
from transferlab.core.training.spec import TrialResult, TrialSpec

START_METHOD = "spawn"  # see `pool`


def launch(
    specs: Sequence[TrialSpec], folder: Path, report: ProgressCallback, states: Path | None
) -> Iterator[tuple[int, Outcome]]:
    """Train the trials in order; see `Launcher`."""
    for spec in specs:
        yield spec.trial, outcome(train_on_devices, spec, folder, report, states)


def train_on_devices(
    spec: TrialSpec, folder: Path, report: ProgressCallback, states: Path | None = None
) -> TrialResult:
    """Train one trial on `training.compute.devices` devices.

    Args:
        spec: what to train.
        folder: see `train_trial`.
        report: called in this process, with the progress of rank 0.
        states: see `train_trial`.

    Raises:
        DeviceError: there are fewer devices.
        RankError: a process was killed; the others have been ended.
        Exception: what `train_trial` raised, in whichever process it was raised first.
    """
    resolve(spec.compute)  # raises here rather than in every process
    pipes = [multiprocessing.Pipe() for _ in range(spec.compute.devices)]
    post = _Post([ours for ours, _ in pipes], report)
    theirs = [end for _, end in pipes]

    def forget_theirs(_: object) -> None:
        """Close our copies of the ends, so that each end closes when its rank exits."""
        for end in theirs:
            end.close()

    # The agent runs in a thread of its own: in the main thread it would replace the signal handlers for good.
    with _silent_torch(), ThreadPoolExecutor(1, initializer=deaf_to_ctrl_c) as agent:
        start = elastic_launch(_config(spec.compute.devices), elastic_worker.run)
        running = agent.submit(start, theirs)
        running.add_done_callback(forget_theirs)
        with closing(post):
            post.send((spec, folder, states))
            post.read()
    try:
        running.result()
    except ChildFailedError as failed:
        _raise_cause(spec, failed, post.failures)
    return post.results[0]


def _config(devices: int) -> LaunchConfig:
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        run_id="trial",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        start_method=START_METHOD,
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
    )


class _Post:
    """This process's ends of the pipes, and the results and failures that came through them."""

    def __init__(self, ends: list[Connection], report: ProgressCallback) -> None:
        self._ends, self._report = ends, report
        self.results: list[TrialResult] = []
        self.failures: list[Failure] = []

    def send(self, job: object) -> None:
        """Send all ranks their job; as an argument it would make them start one after the other."""
        with suppress(OSError):  # a rank has died: reading will notice
            for end in self._ends:
                send(end, job)

    def read(self) -> None:
        """Take messages until all other ends are closed."""
        open_ends = list(self._ends)
        while open_ends:
            for end in cast("list[Connection]", wait(open_ends)):
                try:
                    message = read(end)
                except OSError:
                    open_ends.remove(end)
                else:
                    self._take(message)

    def _take(self, message: Any) -> None:
        if isinstance(message, Failure):
            self.failures.append(message)
        elif isinstance(message, TrialResult):
            self.results.append(message)
        else:
            relay(message, self._report)

    def close(self) -> None:
        """Close the ends; ranks that are still running exit."""
        for end in self._ends:
            end.close()


def _raise_cause(spec: TrialSpec, failed: ChildFailedError, failures: Sequence[Failure]) -> NoReturn:
    """Raise the first error of a rank, or say how a rank was killed."""
    rank, ended = failed.get_first_failure()
    if ended.exitcode >= 0 and failures:
        first = min(failures, key=lambda failure: failure.time)
        raise first.error from RuntimeError(f"in a process of its own:\n{first.traceback}")
    raise RankError(
        f"strategies.{spec.name}: trial {spec.trial + 1}, process {rank + 1} of {spec.compute.devices} was ended by "
        f"{how_ended(ended.exitcode)}, so the others were stopped. SIGKILL often means that memory ran out: a smaller "
        "training.compute.micro_batch or fewer training.compute.devices need less. What was finished is kept: run "
        "again to go on"
    ) from failed


@contextmanager
def _silent_torch() -> Iterator[None]:
    """Keep torch from logging: our error says what failed, and we have followed its advice on purpose."""
    loggers = [logging.getLogger(name) for name in ("torch.distributed.elastic", "torch.multiprocessing.spawn")]
    nothing, level = logging.NullHandler(), os.environ.get("TORCH_CPP_LOG_LEVEL")
    os.environ["TORCH_CPP_LOG_LEVEL"] = level or "ERROR"  # read by the processes started meanwhile
    for logger in loggers:
        logger.addHandler(nothing)
        logger.propagate = False
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(nothing)
            logger.propagate = True
        if level is None:
            del os.environ["TORCH_CPP_LOG_LEVEL"]
