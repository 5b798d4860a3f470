"""Trials in rounds until the answer is known: a group-sequential permutation test between strategies.

As in AdaStop (Mathieu et al. 2023, arXiv 2306.10882), trials are run in rounds over all strategies. After each round
pairs of strategies are told apart by permuting trials, at levels that are fixed before the run and add up to 5% over
all looks and pairs. Here the looks share the error by Bonferroni's inequality and the pairs of a look by Holm's
procedure (1979). That holds whatever the strategies are like, with few trials as with many: a permutation test is
exact. Unlike in AdaStop a strategy stops as soon as another is surely better, as in a race (Maron and Moore 1994):
which of the others is worst is of no use.

It asks whether other *seeds* would give the same order on these test images; the report's intervals also count images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transferlab.core.validation import check

Floats = NDArray[np.float64]
Pair = tuple[str, str]
ERROR = 0.05  # over all looks and pairs
MOST_LOOKS = 3
MOST_PERMUTATIONS = 20_000  # of more, this many are drawn at random


@dataclass(frozen=True, kw_only=True)
class SequentialTrials:
    """How many trials there are, if the answer decides: rounds until the best is known.

    Attributes:
        at_least: trials of each strategy in the first round, or more where so few can tell nothing apart (`looks`).
        at_most: trials after which no more are run.
        stop: the rule; there is one.
    """

    at_least: int = 3
    at_most: int = 10
    stop: str = "sequential"

    def __post_init__(self) -> None:
        """Check the fields."""
        check(
            (self.stop == "sequential", "stop", self.stop, "must be sequential"),
            (2 <= self.at_least <= 1000, "at_least", self.at_least, "must be from 2 to 1000"),
            (self.at_least <= self.at_most <= 1000, "at_most", self.at_most, "must be from at_least to 1000"),
        )

    def looks(self, strategies: int) -> tuple[int, ...]:
        """Return after how many trials of each strategy the test is made; none where `at_most` are too few to tell.

        The first is as soon as the test can tell strategies apart, the last at the end, and one is halfway. Each may
        spend an equal part of the error.
        """
        pairs = max(math.comb(strategies, 2), 1)
        for count in range(MOST_LOOKS, 0, -1):
            able = [n for n in range(self.at_least, self.at_most + 1) if smallest_p(n) <= ERROR / count / pairs]
            if able and count == 1:
                return (self.at_most,)
            if len(able) >= count:
                return (able[0], *((able[0] + self.at_most) // 2,) * (count - 2), self.at_most)
        return ()


def smallest_p(trials: int) -> float:
    """Return the smallest p-value that two strategies with so many trials each can reach."""
    return 2 / math.comb(2 * trials, trials)


class Look(NamedTuple):
    """What a look found of one pair; a row of the table `rounds`.

    Attributes:
        trials: of each of the two.
        strategy: one.
        versus: the other.
        difference: of the mean scores.
        p: of the permutation test.
        level: that p was held against.
        decided: whether they are told apart from now on.
    """

    trials: int
    strategy: str
    versus: str
    difference: float
    p: float
    level: float
    decided: bool


@dataclass
class Race:
    """Strategies of which some may be the best.

    Attributes:
        strategies: their names.
        rule: when to look.
        lower_is_better: whether low scores are good.
        behind: strategies that are told apart from a better one; they need no more trials.
        looks: what was found so far.
    """

    strategies: Sequence[str]
    rule: SequentialTrials
    lower_is_better: bool = False
    behind: set[str] = field(init=False, default_factory=set)
    looks: list[Look] = field(init=False, default_factory=list)

    @property
    def undecided(self) -> list[Pair]:
        """The pairs of strategies that are not told apart, of those that may be the best."""
        told = {(row.strategy, row.versus) for row in self.looks if row.decided}
        return [pair for pair in combinations(self.strategies, 2) if pair not in told and not self.behind & {*pair}]

    @property
    def running(self) -> list[str]:
        """The strategies that need more trials."""
        return [name for name in self.strategies if any(name in pair for pair in self.undecided)]

    def look(self, scores: Mapping[str, Floats]) -> list[Look]:
        """Test the pairs that are not told apart.

        Args:
            scores: of the trials of each strategy, at least of those running.
        """
        level = ERROR / len(self.rule.looks(len(self.strategies)))
        p_of = {pair: permutation_p(scores[pair[0]], scores[pair[1]]) for pair in self.undecided}
        # Pairs that are no longer tested still count: only then the error is kept whatever made them stop.
        left = math.comb(len(self.strategies), 2) - sum(row.decided for row in self.looks)
        found, is_going = [], True
        for pair, p in sorted(p_of.items(), key=lambda item: item[1]):  # Holm: the smallest first
            is_going = is_going and p <= level / left
            one, other = (scores[name] for name in pair)
            found.append(
                Look(min(len(one), len(other)), *pair, float(one.mean() - other.mean()), p, level / left, is_going)
            )
            left -= is_going
        self.looks += found
        for row in found:
            if row.decided:
                self.behind.add(row.strategy if (row.difference < 0) != self.lower_is_better else row.versus)
        return found


def permutation_p(one_T: Floats, other_T: Floats) -> float:
    """Return the two-sided p-value of a difference between means, by permuting trials: exact where they are few."""
    pooled = np.concatenate([one_T, other_T])
    in_one_PT, is_exact = _divisions(len(one_T), len(pooled))
    off_T = pooled - pooled.mean()  # means then differ as the sums of one side do
    found, others_P = abs(float(off_T[: len(one_T)].sum())), np.abs(in_one_PT @ off_T)
    as_far = int((others_P >= found - 1e-9 * max(found, 1e-3)).sum())
    return as_far / len(in_one_PT) if is_exact else (1 + as_far) / (1 + len(in_one_PT))


@cache
def _divisions(of_one: int, trials: int) -> tuple[Floats, bool]:
    """Return ways to divide trials between two strategies, (P, T) of 0 and 1, and whether these are all there are."""
    if math.comb(trials, of_one) <= MOST_PERMUTATIONS:
        rows = np.array(list(combinations(range(trials), of_one)))
    else:
        drawn_PT = np.random.default_rng(0).random((MOST_PERMUTATIONS, trials))
        rows = drawn_PT.argsort(axis=1)[:, :of_one]
    in_one_PT = np.zeros((len(rows), trials))
    np.put_along_axis(in_one_PT, rows, 1.0, axis=1)
    return in_one_PT, math.comb(trials, of_one) <= MOST_PERMUTATIONS
