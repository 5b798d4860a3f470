"""Progress for a person: live bars on a terminal, calm log lines elsewhere."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Protocol

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.status import Status

from transferlab.console.terminal import console
from transferlab.core.runtime import progress
from transferlab.reporting.wording import duration

logger = logging.getLogger(__name__)
WIDE = 110  # letters of a terminal that shows figures beside a bar


class Counter(Protocol):
    """Called with (done, total)."""

    def __call__(self, done: int, total: int) -> None:
        """Move the bar."""


class Plan:
    """The trainings of a run, which share one bar.

    Args:
        estimate: returns the seconds that each will take; asked when the first begins, since all may be reused.
    """

    def __init__(self, estimate: Callable[[], Mapping[str, float]] = dict) -> None:
        self._estimate, self._seconds = estimate, dict[str, float]()
        self._done = dict[str, float]()  # of each strategy, the share that this run need not or did already train
        self._spent, self._trained = 0.0, 0.0  # seconds, and what they were estimated as

    def begin(self, strategy: str) -> None:
        """Estimate, if nothing was trained yet."""
        if not self._seconds:
            self._seconds = dict(self._estimate())
        if strategy not in self._seconds:  # nobody could estimate it: it is all there is
            self._seconds = {strategy: 1.0}

    def reused(self, strategy: str) -> None:
        """Count a training that need not be done."""
        self._done[strategy] = 1.0

    def advance(self, strategy: str, share: float, seconds: float) -> None:
        """Count a training as done up to a share, after so many more seconds.

        Trials of a cluster may still tell something when their strategy is over and another one is all there is.
        """
        if strategy not in self._seconds:
            return
        before = self._done.setdefault(strategy, share if seconds == 0 else 0.0)
        self._trained += (share - before) * self._seconds[strategy]
        self._spent += seconds
        self._done[strategy] = share

    @property
    def share(self) -> float:
        """What is done of all trainings."""
        whole = sum(self._seconds.values())
        done = sum(seconds * self._done.get(name, 0.0) for name, seconds in self._seconds.items())
        return done / whole if whole else 1.0  # strategies without stages take no time

    @property
    def seconds_left(self) -> float | None:
        """What the rest takes at the pace so far; None until something was trained."""
        if self._trained <= 0:
            return None
        return (1 - self.share) * sum(self._seconds.values()) * self._spent / self._trained


_plan = Plan()


def expect(plan: Plan) -> None:
    """Begin a run with these trainings."""
    global _plan
    _plan = plan


def reused(strategy: str) -> None:
    """Count a strategy of the run that need not be trained."""
    _plan.reused(strategy)


_status: Status | None = None  # while modules load


@contextmanager
def loading() -> Iterator[None]:
    """Show on a terminal that modules load, until `loaded` or the end of the block; nothing of it stays."""
    global _status
    if _draws():
        _status = console.status("loading modules")
        _status.start()
    try:
        yield
    finally:
        loaded()


def loaded() -> None:
    """Show no longer that modules load: the work begins."""
    global _status
    if _status:
        _status.stop()
    _status = None


def _draws() -> bool:
    """Return whether this process draws: the main one of a terminal. Workers of ParallelRunner would draw over it."""
    return console.is_terminal and multiprocessing.parent_process() is None


def _bars() -> Progress:
    """Make bars that vanish when their work is done: what stays are the log lines."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        transient=True,
        disable=not _draws(),
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
def trials(strategy: str, count: int, held_out: str = "validation") -> Iterator[progress.ProgressCallback]:
    """Show how far a run is while it trains the trials of a strategy, and the time that is left.

    Of trials at the same time, the epoch is that of the first of them. `held_out` names the split of the figures.
    """
    _plan.begin(strategy)
    with _bars() as bars:
        bar = bars.add_task(strategy, total=1.0, note="")
        bars.update(bar, completed=_plan.share)
        parts: dict[int, float] = {}  # of each trial, what is done
        figures, what, last = "", "", perf_counter()

        def report(at: progress.Progress) -> None:
            nonlocal figures, what, last
            before = dict.fromkeys(range(at.trial), 1.0)  # what has said nothing was trained by an earlier run
            part = at.together * (at.epoch - 1 + (0 if at.doing else at.step / at.steps)) / at.epochs
            is_first = not parts
            parts.update({**before, **parts, at.trial: part})
            now = perf_counter()
            _plan.advance(strategy, sum(parts.values()) / count, 0.0 if is_first else now - last)
            last = now
            under_way = sorted({number for number, part in parts.items() if part < 1} | {at.trial})
            if at.loss is not None:
                figures = _figures(at, held_out)
            tell(at)
            if at.trial == under_way[0]:
                what = f"{at.doing} {at.step / at.steps:.0%}" if at.doing else f"epoch {at.epoch} of {at.epochs}"
            numbers = f"trial {_listed(under_way)} of {count}" if at.together == 1 else f"{at.together} trials"
            told = ", ".join(filter(None, (strategy, numbers, what)))
            bars.update(bar, description=told, completed=_plan.share, note=_note(figures))

        tell = lines(strategy, count, held_out)
        yield report
        _plan.advance(strategy, 1.0, perf_counter() - last)


def _note(figures: str) -> str:
    left = _plan.seconds_left
    shown = [figures] if figures and console.width >= WIDE else []
    return ", ".join([*([] if left is None else [f"{duration(left)} left"]), *shown])


def lines(strategy: str, count: int, held_out: str = "validation") -> progress.ProgressCallback:
    """Log a line for each trial of a strategy that is done."""

    def tell(at: progress.Progress) -> None:
        if at.loss is not None and at.epoch == at.epochs:
            logger.info("%s: trial %d of %d done, %s", strategy, at.trial + 1, count, _figures(at, held_out))

    return tell


def _listed(trials: list[int]) -> str:
    return ", ".join(str(number + 1) for number in trials)


def _figures(at: progress.Progress, held_out: str) -> str:
    accuracy = "" if at.held_out_accuracy is None else f", {held_out} {at.held_out_accuracy:.1%}"
    return f"loss {at.loss:.3f}, accuracy {at.accuracy:.1%}{accuracy}"
