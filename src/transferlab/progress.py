"""Progress for a person: live bars on a terminal, calm log lines elsewhere."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from transferlab.core import spec
from transferlab.terminal import console

logger = logging.getLogger(__name__)


class Counter(Protocol):
    """Called with (done, total)."""

    def __call__(self, done: int, total: int) -> None:
        """Move the bar."""


def _bars() -> Progress:
    """Bars that vanish when their work is done: what stays are the log lines.

    Only the main process draws: the workers of ParallelRunner would draw over one another.
    """
    is_alone = multiprocessing.parent_process() is None
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        transient=True,
        disable=not (console.is_terminal and is_alone),
    )


@contextmanager
def counting(what: str) -> Iterator[Counter]:
    """A bar for a count of things done."""
    with _bars() as bars:
        task = bars.add_task(what, total=None, note="")
        yield lambda done, total: bars.update(task, completed=done, total=total, note=f"{done} of {total}")


@contextmanager
def trials(strategy: str, count: int) -> Iterator[spec.Report]:
    """Bars for the trials of a strategy: one over all of them, one within the epoch, with loss and accuracy."""
    with _bars() as bars:
        overall = bars.add_task(strategy, total=count, note="")
        epoch = bars.add_task("", total=None, note="", visible=False)

        def report(at: spec.Progress) -> None:
            if at.doing is not None:
                bars.update(
                    epoch, completed=at.step, total=at.steps, description=f"  {at.stage}: {at.doing}", visible=True
                )
                return
            done = at.trial + at.together * (at.epoch - 1 + at.step / at.steps) / at.epochs
            numbers = f"trial {at.trial + 1} of {count}" if at.together == 1 else f"{at.together} trials together"
            bars.update(overall, completed=done, description=f"{strategy}: {numbers}")
            bars.update(
                epoch,
                completed=at.step,
                total=at.steps,
                description=f"  {at.stage}: epoch {at.epoch} of {at.epochs}",
                visible=True,
            )
            if at.loss is not None:
                bars.update(overall, note=_figures(at))
                if at.epoch == at.epochs:
                    logger.info("%s: trial %d of %d done, %s", strategy, at.trial + 1, count, _figures(at))

        yield report


def _figures(at: spec.Progress) -> str:
    held_out = "" if at.held_out_accuracy is None else f", held out {at.held_out_accuracy:.1%}"
    return f"loss {at.loss:.3f}, accuracy {at.accuracy:.1%}{held_out}"
