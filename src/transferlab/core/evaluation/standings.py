"""Which strategies may be the best, how far the others are behind, and what the leader owes to having been chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from transferlab.core.evaluation import intervals
from transferlab.core.evaluation.best_set import behind_the_best, one_sided
from transferlab.core.evaluation.contributions import Outcomes
from transferlab.core.evaluation.design import Design
from transferlab.core.evaluation.optimism import optimism
from transferlab.core.evaluation.pairing import Values, on_shared_trials
from transferlab.core.evaluation.variance import Spread
from transferlab.core.metrics import LOWER_IS_BETTER

# Of fewer trials the variance between seeds is all but unknown: they are shown and not ranked.
FEWEST_TRIALS = 3
NOT_RANKED = {"standing": "not ranked", "behind_at_most": math.nan, "corrected": math.nan}


def standings(outcomes: Sequence[Outcomes], metric: str, design: Design) -> dict[str, dict[str, Any]]:
    """Return standing, distance behind the best and corrected mean of every strategy with enough trials.

    With several splits, trials of one split count once.
    """
    ranked = [each for each in outcomes if design.repetitions(each.trials) >= FEWEST_TRIALS]
    if len(ranked) < 2:
        return {}
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    values = [Values.of(each, metric, sign) for each in ranked]
    if any(np.isnan(each.values_TN).all() for each in values):  # AUROC, where a class has no test image
        return {}
    gap_SS, half_SS = np.zeros((len(ranked),) * 2), np.full((len(ranked),) * 2, np.inf)
    for i, j in combinations(range(len(ranked)), 2):
        spread = paired_spread(values[i], values[j], metric, design)
        half = intervals.half_width(spread, one_sided(len(ranked)), design.test_to_train)
        if spread.trials >= FEWEST_TRIALS and math.isfinite(half):
            gap_SS[i, j], gap_SS[j, i], half_SS[i, j], half_SS[j, i] = spread.mean, -spread.mean, half, half
    may_be_best_S, behind_S = behind_the_best(gap_SS, half_SS)
    mean_S = np.array([np.nanmean(each.values_TN) for each in values])
    leader = int(mean_S.argmax())
    corrected = sign * (mean_S[leader] - _leaders_luck(values, design))
    return {
        each.strategy: {
            "standing": "may be best" if may_be_best_S[place] else "behind",
            "behind_at_most": behind_S[place],
            "corrected": corrected if place == leader else math.nan,
        }
        for place, each in enumerate(ranked)
    }


def paired_spread(one: Values, other: Values, metric: str, design: Design) -> Spread:
    """Return mean and variances of a paired difference over the trials that both have; NaN where they share none."""
    left, right = on_shared_trials([one, other])
    if not left.paths:
        return Spread(math.nan, math.nan, math.nan, 0.0, 0, 0)
    values_TU = design.units(left.trials, left.paths, left.values_TN - right.values_TN)
    return Spread.of(values_TU, intervals.pseudo(metric, values_TU.shape[1], len(left.paths)))


def _leaders_luck(values: Sequence[Values], design: Design) -> float:
    """Return the optimism of the highest mean over the trials that all have; NaN where they share fewer than two."""
    shared = on_shared_trials(values)
    if len(shared[0].trials) < 2:
        return math.nan
    return optimism(np.stack([design.units(each.trials, each.paths, each.values_TN) for each in shared]))
