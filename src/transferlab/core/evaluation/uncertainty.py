"""Where the uncertainty of a difference comes from: seeds, training sample, test images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from transferlab.core.evaluation.design import Design
from transferlab.core.evaluation.variance import Budget, Spread, split_training_sample

Floats = NDArray[np.float64]


def standard_errors(trials: Sequence[int], value_T: Floats, spread: Spread, design: Design) -> dict[str, float]:
    """Return the parts of a mean's standard error as `seeds_se`, `sample_se` and `images_se`; their squares add up.

    NaN where a part is not varied or not told apart: the training sample where there is one split; seeds where each
    split has one trial, and test images where splits have their own: both are in `sample_se` then.

    Args:
        trials: their numbers.
        value_T: each trial's mean.
        spread: of the values, a row per trial or, where splits are several, per split.
        design: how the trials were made.
    """
    budget = Budget.of(spread)
    if design.splits == 1:
        seeds = math.sqrt((budget.trial + budget.both / budget.units) / budget.trials)
        return {"seeds_se": seeds, "sample_se": math.nan, "images_se": math.sqrt(budget.image / budget.units)}
    if design.test_to_train:
        over_splits, images = spread.over_trials * (1 + spread.trials * design.test_to_train), math.nan
    else:
        over_splits = (budget.trial + budget.both / budget.units) / budget.trials
        images = math.sqrt(budget.image / budget.units)
    within, _ = split_training_sample(value_T, np.array(trials) % design.splits)
    seeds = math.sqrt(min(within / len(trials), over_splits)) if math.isfinite(within) else math.nan
    sample = math.sqrt(max(0.0, over_splits - (0.0 if math.isnan(seeds) else seeds**2)))
    return {"seeds_se": seeds, "sample_se": sample, "images_se": images}
