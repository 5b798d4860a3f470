"""Paired differences between two strategies, looked up from either direction of their table."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from transferlab.reporting.wording import LOWER_IS_BETTER, difference, signed_interval

FEWEST_TRIALS = 3


@dataclass(frozen=True)
class Gap:
    """A paired difference, `strategy - versus`, with its 95% interval over trials and test images."""

    strategy: str
    versus: str
    value: float
    low: float
    high: float
    metric: str = "accuracy"

    @property
    def at_best(self) -> float:
        """The end of the interval that is best for `strategy`, as by how much it is better; NaN without interval."""
        return -self.low if self.metric in LOWER_IS_BETTER else self.high

    def __str__(self) -> str:
        """Write the difference and its interval."""
        bounds = signed_interval(self.low, self.high, self.metric)
        return f"{difference(self.value, self.metric)} {bounds or '(no interval)'}"


def told_apart(low: float, high: float, trials: int) -> bool:
    """Say whether the interval of a difference excludes 0; fewer than three trials tell nothing apart, nor does NaN."""
    return trials >= FEWEST_TRIALS and (low > 0 or high < 0)


def gap_between(differences: pd.DataFrame, strategy: str, versus: str, metric: str = "accuracy") -> Gap:
    """Return the difference `strategy - versus`, from either direction of the table; NaN when it has neither."""
    found = pair_of(differences, strategy, versus, metric)
    if found is None:
        return Gap(strategy, versus, math.nan, math.nan, math.nan, metric)
    sign = 1 if found["strategy"] == strategy else -1
    low, high = sorted((sign * found["low_images"], sign * found["high_images"]))
    return Gap(strategy, versus, sign * found["difference"], low, high, metric)


def pair_of(differences: pd.DataFrame, one: str, other: str, metric: str) -> pd.Series | None:
    """Return the row of a pair, in whichever direction it stands; None if there is none."""
    rows = differences[differences["metric"] == metric]
    is_pair = rows["strategy"].isin([one, other]) & rows["versus"].isin([one, other])
    return rows[is_pair].iloc[0] if is_pair.any() else None
