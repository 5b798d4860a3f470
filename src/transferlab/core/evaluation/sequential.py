"""Trials in rounds until the answer is known: a group-sequential permutation test between strategies.

As in AdaStop (Mathieu et al. 2023, arXiv 2306.10882), trials are run in rounds over all strategies. After each round
pairs of strategies are told apart by permuting trials, at levels that are fixed before the run and add up to 5% over
all looks and pairs. Here the looks share the error by Bonferroni's inequality and the pairs of a look by Holm's
procedure (1979). That holds whatever the strategies are like, with few trials as with many: a permutation test is
exact.

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
MOST_PERMUTATIONS = 20_000  # of more, this many are drawn at random


@dataclass(frozen=True, kw_only=True)
class SequentialTrials:
    """How many trials there are, if the answer decides: rounds of `at_least` until all pairs are told apart.

    Attributes:
        at_least: trials of each strategy in the first round, and in each further one.
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

    @property
    def looks(self) -> tuple[int, ...]:
        """After how many trials of each strategy the test is made."""
        return (*range(self.at_least, self.at_most, self.at_least), self.at_most)

    def levels(self, strategies: int) -> tuple[float, ...]:
        """Return the error that each look may spend: equal parts, but none where so few trials can show nothing.

        All are 0 where even the last look has too few permutations.
        """
        looks, pairs = self.looks, max(math.comb(strategies, 2), 1)
        for able in range(len(looks), 0, -1):
            first = looks[-able]
            if smallest_p(first) <= ERROR / able / pairs:
                return (0.0,) * (len(looks) - able) + (ERROR / able,) * able
        return (0.0,) * len(looks)


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
    """Strategies of which some pairs are not told apart yet.

    Attributes:
        strategies: their names.
        rule: when to look.
        undecided: the pairs that are not told apart.
        looks: what was found so far.
    """

    strategies: Sequence[str]
    rule: SequentialTrials
    undecided: list[Pair] = field(init=False)
    looks: list[Look] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.undecided = list(combinations(self.strategies, 2))

    @property
    def running(self) -> list[str]:
        """The strategies that need more trials: those of a pair that is not told apart."""
        return [name for name in self.strategies if any(name in pair for pair in self.undecided)]

    def look(self, number: int, scores: Mapping[str, Floats]) -> list[Look]:
        """Test the pairs that are not told apart.

        Args:
            number: of the look.
            scores: of the trials of each strategy, at least of those running.
        """
        level = self.rule.levels(len(self.strategies))[number]
        p_of = {pair: permutation_p(scores[pair[0]], scores[pair[1]]) for pair in self.undecided}
        found, is_going, left = [], True, len(p_of)
        for pair, p in sorted(p_of.items(), key=lambda item: item[1]):  # Holm: the smallest first
            is_going = is_going and p <= level / left
            one, other = (scores[name] for name in pair)
            found.append(
                Look(min(len(one), len(other)), *pair, float(one.mean() - other.mean()), p, level / left, is_going)
            )
            left -= is_going
        self.undecided = [pair for pair in self.undecided if not any(row[1:3] == pair and row.decided for row in found)]
        self.looks += found
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
