"""Progress for a person: live bars on a terminal, calm log lines elsewhere."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from transferlab.console.terminal import console
from transferlab.core.runtime import progress

logger = logging.getLogger(__name__)


class Counter(Protocol):
    """Called with (done, total)."""

    def __call__(self, done: int, total: int) -> None:
        """Move the bar."""


def _bars() -> Progress:
    """Make bars that vanish when their work is done: what stays are the log lines.

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
    """Show a bar for a count of things done."""
    with _bars() as bars:
        task = bars.add_task(what, total=None, note="")
        yield lambda done, total: bars.update(task, completed=done, total=total, note=f"{done} of {total}")


@contextmanager
def downloading() -> Iterator[Counter]:
    """Show a bar for bytes that come; the total is 0 where it is not known."""
    with _bars() as bars:
        task = bars.add_task("downloading", total=None, note="")
        yield lambda done, total: bars.update(task, completed=done, total=total or None, note=f"{done / 1e6:.0f} MB")


@contextmanager
def trials(strategy: str, count: int) -> Iterator[progress.ProgressCallback]:
    """Show bars for the trials of a strategy: one over all of them, one within the epoch, with loss and accuracy.

    Of trials at the same time, the epoch is that of the first of them.
    """
    with _bars() as bars:
        overall = bars.add_task(strategy, total=count, note="")
        epoch = bars.add_task("", total=None, note="", visible=False)
        parts: dict[int, float] = {}  # of each trial, what is done

        def report(at: progress.Progress) -> None:
            before = dict.fromkeys(range(at.trial), 1.0)  # what has said nothing was trained by an earlier run
            part = at.together * (at.epoch - 1 + (0 if at.doing else at.step / at.steps)) / at.epochs
            parts.update({**before, **parts, at.trial: part})
            under_way = sorted({number for number, part in parts.items() if part < 1} | {at.trial})
            numbers = f"trial {_listed(under_way)} of {count}" if at.together == 1 else f"{at.together} trials together"
            bars.update(overall, completed=sum(parts.values()), description=f"{strategy}: {numbers}")
            if at.trial == under_way[0]:
                what = at.doing or f"epoch {at.epoch} of {at.epochs}"
                bars.update(epoch, completed=at.step, total=at.steps, description=f"  {at.stage}: {what}", visible=True)
            if at.loss is not None:
                bars.update(overall, note=_figures(at))
            tell(at)

        tell = lines(strategy, count)
        yield report


def lines(strategy: str, count: int) -> progress.ProgressCallback:
    """Log a line for each trial of a strategy that is done."""

    def tell(at: progress.Progress) -> None:
        if at.loss is not None and at.epoch == at.epochs:
            logger.info("%s: trial %d of %d done, %s", strategy, at.trial + 1, count, _figures(at))

    return tell


def _listed(trials: list[int]) -> str:
    return ", ".join(str(number + 1) for number in trials)


def _figures(at: progress.Progress) -> str:
    held_out = "" if at.held_out_accuracy is None else f", held out {at.held_out_accuracy:.1%}"
    return f"loss {at.loss:.3f}, accuracy {at.accuracy:.1%}{held_out}"
