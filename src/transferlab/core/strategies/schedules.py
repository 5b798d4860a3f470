"""Learning-rate schedules as functions of the position: nothing to save for a resume, every rate known beforehand.

A schedule returns the factor on the optimizer's `lr`. Only reduce-on-plateau also needs the validation scores so far.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from transferlab.core.validation import check

MOST_EPOCHS = 1_000_000
IMPROVEMENT = 1e-4  # relative; a smaller one counts as none


@dataclass(frozen=True)
class Position:
    """A place in a stage: `step` of `steps` (from 0), in `epoch` of `epochs` (from 0).

    `scores` has one of each epoch so far, of the validation images; higher is better.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    scores: Sequence[float] = ()


class _FixedMomentum:
    """Schedules that leave the optimizer's momentum alone."""

    def momentum(self, at: Position) -> float | None:
        """Return the momentum to set, or None to leave it."""
        return None


@dataclass(frozen=True, kw_only=True)
class Constant(_FixedMomentum):
    """Keeps the same rate throughout."""

    name: Literal["constant"] = "constant"

    def factor(self, at: Position) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Step(_FixedMomentum):
    """Multiplies the rate by `gamma` every `every` epochs."""

    name: Literal["step"] = "step"
    every: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        check(
            (1 <= self.every <= MOST_EPOCHS, "every", self.every, f"must be from 1 to {MOST_EPOCHS} epochs"),
            (0 < self.gamma <= 1, "gamma", self.gamma, "must be in (0, 1]"),
        )

    def factor(self, at: Position) -> float:
        """Return `gamma ** (epoch // every)`."""
        return float(self.gamma ** (at.epoch // self.every))


@dataclass(frozen=True, kw_only=True)
class Cosine(_FixedMomentum):
    """Warms up linearly, then follows half a cosine down to `final` (Loshchilov & Hutter 2017, one cycle).

    Attributes:
        warm_up: share of all steps spent going up.
        final: factor at the end.
    """

    name: Literal["cosine"] = "cosine"
    warm_up: float = 0.0
    final: float = 0.0

    def __post_init__(self) -> None:
        check(
            (0 <= self.warm_up < 1, "warm_up", self.warm_up, "must be in [0, 1)"),
            (0 <= self.final <= 1, "final", self.final, "must be in [0, 1]"),
        )

    def factor(self, at: Position) -> float:
        """Return the factor at a step."""
        warm = self.warm_up * at.steps
        if at.step < warm:
            return (at.step + 1) / (warm + 1)
        return _cosine(1.0, self.final, (at.step - warm) / max(1.0, at.steps - warm))


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Follows Smith's one-cycle policy as torch's `OneCycleLR` does: up to `lr` by a cosine, then down.

    Attributes:
        warm_up: share of all steps spent going up.
        start: the first rate is `lr / start`.
        end: the last rate is the first divided by `end`.
        momentum_range: (low, high) of the momentum (beta 1 of Adam), which runs against the rate; null leaves it alone.
    """

    name: Literal["one_cycle"] = "one_cycle"
    warm_up: float = 0.3
    start: float = 25.0
    end: float = 1e4
    momentum_range: tuple[float, float] | None = (0.85, 0.95)

    def __post_init__(self) -> None:
        check(
            (0 < self.warm_up < 1, "warm_up", self.warm_up, "must be in (0, 1)"),
            (1 <= self.start <= 1e30, "start", self.start, "must be from 1 to 1e30"),
            (1 <= self.end <= 1e30, "end", self.end, "must be from 1 to 1e30"),
        )
        if self.momentum_range is not None:
            low, high = self.momentum_range
            check((0 <= low <= high < 1, "momentum_range", self.momentum_range, "must be 0 <= low <= high < 1"))

    def factor(self, at: Position) -> float:
        """Return the factor at a step."""
        return self._phase(at, low=1 / self.start, high=1.0, last=1 / (self.start * self.end))

    def momentum(self, at: Position) -> float | None:
        """Return a momentum that is high at the ends and low at the peak of the rate."""
        if self.momentum_range is None:
            return None
        low, high = self.momentum_range
        return self._phase(at, low=high, high=low, last=high)

    def _phase(self, at: Position, low: float, high: float, last: float) -> float:
        # torch counts both ends as steps of the cycle: the peak is at step `peak`, the last rate at `steps - 1`.
        peak = self.warm_up * at.steps - 1
        if at.step <= peak:
            return _cosine(low, high, at.step / peak if peak > 0 else 1.0)
        return _cosine(high, last, (at.step - peak) / (at.steps - 1 - peak))


@dataclass(frozen=True, kw_only=True)
class Plateau(_FixedMomentum):
    """Multiplies the rate by `reduce` after more than `patience` epochs without a better validation score.

    It is torch's `ReduceLROnPlateau` (relative threshold 1e-4). It decides, so it needs a validation split. The score
    is what the stage monitors.

    Attributes:
        reduce: the factor at each reduction.
        patience: epochs without improvement that are allowed.
    """

    name: Literal["plateau"] = "plateau"
    reduce: float = 0.1
    patience: int = 10

    def __post_init__(self) -> None:
        check(
            (0 < self.reduce < 1, "reduce", self.reduce, "must be in (0, 1)"),
            (0 <= self.patience <= MOST_EPOCHS, "patience", self.patience, f"must be from 0 to {MOST_EPOCHS} epochs"),
        )

    def factor(self, at: Position) -> float:
        """Return the factor that the scores of this stage's epochs so far lead to."""
        bad, factor = 0, 1.0
        for is_better in improvements(at.scores):
            bad = 0 if is_better else bad + 1
            if bad > self.patience:
                factor, bad = factor * self.reduce, 0
        return factor


Schedule = Constant | Step | Cosine | OneCycle | Plateau


def stale_epochs(scores: Sequence[float]) -> int:
    """Return how many of the last epochs, given the score of each, have brought no improvement."""
    stale = 0
    for is_better in improvements(scores):
        stale = 0 if is_better else stale + 1
    return stale


def improvements(scores: Iterable[float]) -> Iterator[bool]:
    """Yield for each score whether it is better than all before; NaN never is."""
    best = -math.inf
    for score in scores:
        is_better = score > (best + IMPROVEMENT * abs(best) if math.isfinite(best) else best)
        best = score if is_better else best
        yield is_better


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * min(1.0, part)))
