"""Launches several trials at a time, each in its own process with a share of the CPU's threads, or of the GPUs.

Small batches leave most of a machine idle: two trials on a thread each end sooner than one after the other on two
threads, and have the bits that they have alone with as many threads.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, cast

from transferlab.core.launch import pool_worker
from transferlab.core.launch.channel import Failure, RankError, deaf_to_ctrl_c, how_ended, read, relay, send
from transferlab.core.launch.launcher import Outcome
from transferlab.core.runtime.compute import Compute
from transferlab.core.runtime.device import resolve
from transferlab.core.runtime.memory import leave_memory_to_others
from transferlab.core.runtime.progress import ProgressCallback
from transferlab.core.training.engine import DivergedError
from transferlab.core.training.spec import TrialResult, TrialSpec

logger = logging.getLogger(__name__)
START_METHOD = "spawn"  # never forked from this process: its threads, or CUDA, could hang there


def launch(
    specs: Sequence[TrialSpec], folder: Path, report: ProgressCallback, states: Path | None
) -> Iterator[tuple[int, Outcome]]:
    """Train `compute.parallel_trials` trials at a time, begun in the order given; see `Launcher`.

    Raises:
        RankError: a process was killed.
        Exception: what a trial raised, but for DivergedError. The others have saved what they had, as after Ctrl-C.
    """
    compute = compute_of_each(specs[0].compute, len(specs))
    count, threads = compute.parallel_trials, compute.threads
    waiting = deque(replace(spec, compute=compute) for spec in specs)
    busy: dict[Connection, TrialSpec] = {}

    def give_next(end: Connection) -> None:
        busy.pop(end, None)
        if waiting:
            busy[end] = waiting.popleft()
            with suppress(OSError):  # its process has died: reading will notice
                send(end, (busy[end], folder, states))

    leave_memory_to_others()
    with _processes(count) as processes:
        logger.info("%s: %d trials at a time, threads of each: %d", specs[0].name, count, threads)
        for end in processes:
            give_next(end)
        while busy:
            for end in _ready(busy):
                outcome = _take(end, processes[end], busy[end], report)
                if outcome is not None:
                    trial = busy[end].trial
                    give_next(end)
                    yield trial, outcome


def compute_of_each(compute: Compute, trials: int) -> Compute:
    """Return the compute settings of each of so many trials: its share of the CPU's threads."""
    threads = compute.threads or max(1, resolve(compute).threads // compute.parallel_trials)
    return replace(compute, threads=threads, parallel_trials=min(compute.parallel_trials, trials))


def _take(end: Connection, process: BaseProcess, spec: TrialSpec, report: ProgressCallback) -> Outcome | None:
    """Take a message of a process; return its trial's outcome, or None if the trial goes on."""
    try:
        message = read(end)
    except OSError as error:
        process.join()
        raise RankError(_told(spec, how_ended(process.exitcode or 0))) from error
    if isinstance(message, Failure):
        raise message.error from RuntimeError(f"in a process of its own:\n{message.traceback}")
    if isinstance(message, TrialResult | DivergedError):
        return message
    relay(message, report)
    return None


def _told(spec: TrialSpec, how: str) -> str:
    at_a_time, threads = spec.compute.parallel_trials, spec.compute.threads
    return (
        f"strategies.{spec.name}: trial {spec.trial + 1} was ended by {how}, so those beside it were stopped. SIGKILL "
        f"often means that memory ran out: fewer training.compute.parallel_trials than {at_a_time} need less (with "
        f"training.compute.threads: {threads}, trials that have begun can go on). What was finished is kept: run again "
        "to go on"
    )


@contextmanager
def _processes(count: int) -> Iterator[dict[Connection, BaseProcess]]:
    """Start processes that train what they are sent; yield them by this end of the pipe to each.

    On an error or Ctrl-C they save what is not saved yet, then exit (on Windows they exit at once). On a second Ctrl-C
    they exit at once.
    """
    started: dict[Connection, BaseProcess] = {}
    try:
        with ThreadPoolExecutor(1, initializer=deaf_to_ctrl_c) as starter:
            started.update(starter.map(_start, range(count)))
        yield started
    except BaseException:
        for process in started.values():
            process.terminate()
        _wait_for(started)
        raise
    finally:
        for end, process in started.items():
            end.close()
            process.join()


def _start(number: int) -> tuple[Connection, BaseProcess]:
    context: Any = multiprocessing.get_context(START_METHOD)
    ours, theirs = context.Pipe()
    process = context.Process(target=pool_worker.run, args=(theirs, number), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _ready(ends: Iterable[Connection]) -> list[Connection]:
    return cast("list[Connection]", wait(list(ends)))


def _wait_for(ends: Iterable[Connection]) -> None:
    """Wait until all processes have ended, and discard what they still send."""
    left = set(ends)
    while left:
        for end in _ready(left):
            try:
                end.recv_bytes()
            except (EOFError, OSError):
                left.remove(end)
