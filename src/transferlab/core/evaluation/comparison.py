"""The tables `comparison` and `differences`: what each strategy gets, how sure that is, and which may be the best.

Trial t of every strategy has the same seed and the same split, hence the same order of images and, where they augment
alike, the same views; all strategies are tested on the same images. Differences are therefore paired, by trial and by
image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from transferlab.core.evaluation import intervals
from transferlab.core.evaluation.contributions import METRICS, Outcomes
from transferlab.core.evaluation.design import BY_ACCURACY, Design
from transferlab.core.evaluation.exact import sign_flip
from transferlab.core.evaluation.pairing import Values, check_same_images, on_shared_trials
from transferlab.core.evaluation.standings import NOT_RANKED, paired_spread, standings
from transferlab.core.evaluation.uncertainty import standard_errors
from transferlab.core.evaluation.variance import POWER, Budget, Spread, trials_needed_of_re_splits

PAIRED_METRICS = ("accuracy", "log_loss")
# The half-width, and the difference to detect, that numbers of images and trials needed are given for.
TARGET = 0.01


def compare(metrics: pd.DataFrame, outcomes: Sequence[Outcomes], design: Design = BY_ACCURACY) -> pd.DataFrame:
    """Return the table `comparison`: a row per strategy and metric.

    `mean, low, high, sd` are over trials: would other seeds give this, on these test images? `low_images, high_images`
    is over trials and test images: would it hold on new photographs? Where trials have test images of their own, both
    are corrected for the training images that they share. `test_images` counts different images, and `groups` what
    they are in (0: each on its own). `splits` says on how many different splits the trials were made, and `splitting`
    how. `standing` is `may be best`, `behind` or `not ranked`, and `behind_at_most` is how far the strategy may be
    behind the best; over all strategies these hold together with a probability of 95%. `corrected` is the highest mean
    less what it owes to having been chosen.

    Args:
        metrics: the table `metrics`, of one split.
        outcomes: what each strategy said of these images.
        design: what decides, and how the trials were made.

    Raises:
        DifferentImagesError: the strategies were tested on different images.
    """
    check_same_images(outcomes)
    known = {each.strategy: each for each in outcomes}
    measured = [metric for metric in METRICS if (metrics["metric"] == metric).any()]
    standing = {metric: standings(outcomes, metric, design) for metric in measured}
    rows = [
        _level(group, known[str(strategy)], design)
        | standing.get(str(metric), {}).get(str(strategy), NOT_RANKED)
        | {"decides": metric == design.metric, "margin": math.nan if design.margin is None else design.margin}
        for (strategy, metric), group in metrics.groupby(["strategy", "metric"], sort=False)
    ]
    return pd.DataFrame(rows)


def _level(rows: pd.DataFrame, own: Outcomes, design: Design) -> dict[str, Any]:
    """Return what one strategy gets by one metric, from its rows of the table `metrics`."""
    metric, values_T = str(rows["metric"].iloc[0]), rows["value"].to_numpy(dtype=float)
    low, high = intervals.over_trials(design.over_splits(list(rows["trial"]), values_T), design.test_to_train)
    low_images, high_images = math.nan, math.nan
    if metric in METRICS:
        values_TU = design.units(own.trials, own.paths, own.contributions(metric))
        low_images, high_images = intervals.of_metric(values_TU, len(own.paths), metric, design.test_to_train)
    return {
        "strategy": own.strategy,
        "metric": metric,
        "mean": values_T.mean(),
        "low": low,
        "high": high,
        "sd": values_T.std(ddof=1) if len(values_T) > 1 else math.nan,
        "trials": len(values_T),
        "test_images": len(own.paths),
        "groups": design.count_groups(own.paths),
        "splits": design.repetitions(own.trials) if design.splits > 1 else 1,
        "splitting": design.splitting,
        "selection": rows["selection"].iloc[0],
        "low_images": low_images,
        "high_images": high_images,
    }


def differences(
    outcomes: Sequence[Outcomes], design: Design = BY_ACCURACY, target: float | None = None
) -> pd.DataFrame:
    """Return the table `differences`: each strategy against each other.

    `low, high` is the paired interval over trials: would other seeds give this, on these test images? `low_images,
    high_images` is over trials and test images: would it hold on new photographs? `seeds_se`, `sample_se` and
    `images_se` say where the uncertainty comes from (`uncertainty.standard_errors`); `trial_sd`, `image_sd` and
    `both_sd` are its components (`variance.Budget`); `images_needed` and `trials_needed` bring the half-width of the
    latter interval to `target`, `images_for_power` and `trials_for_power` detect a difference of `target` with a
    probability of 80%; infinity where no number does. With groups, `images_` counts groups. `p_exact` is
    `exact.sign_flip`.

    Where trials have test images of their own, both intervals are corrected for the training images that they share,
    and only the variance between splits is known: `image_sd`, `both_sd` and the numbers of images are NaN.

    Args:
        outcomes: what each strategy said of the test images.
        design: what decides, and how the trials were made.
        target: None takes the margin, or else one point.

    Raises:
        DifferentImagesError: the strategies were tested on different images.
    """
    check_same_images(outcomes)
    rows = [
        {"strategy": one.strategy, "versus": other.strategy, "metric": metric}
        | _difference(one, other, metric, design, target or design.margin or TARGET)
        for one, other in combinations(outcomes, 2)
        for metric in dict.fromkeys((*PAIRED_METRICS, design.metric))
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


COLUMNS = (
    "strategy", "versus", "metric", "difference", "low", "high", "low_images", "high_images", "trials", "test_images",
    "p_exact", "seeds_se", "sample_se", "images_se", "trial_sd", "image_sd", "both_sd", "target", "images_needed",
    "trials_needed", "images_for_power", "trials_for_power",
)  # fmt: skip


def _difference(one: Outcomes, other: Outcomes, metric: str, design: Design, target: float) -> dict[str, Any]:
    both = Values.of(one, metric), Values.of(other, metric)
    left, right = on_shared_trials(both)
    if not left.paths:  # no trial in common, or a metric that none of them has
        return {"trials": len(left.trials), "test_images": 0, "target": target}
    spread = paired_spread(*both, metric, design)
    over_trials_T = np.nanmean(left.values_TN, axis=1) - np.nanmean(right.values_TN, axis=1)
    low, high = intervals.over_trials(design.over_splits(left.trials, over_trials_T), design.test_to_train)
    half = intervals.half_width(spread, test_to_train=design.test_to_train)
    hits_TN, other_TN = np.nan_to_num(left.values_TN), np.nan_to_num(right.values_TN)
    row = {
        "difference": spread.mean,
        "low": low,
        "high": high,
        "low_images": spread.mean - half,
        "high_images": spread.mean + half,
        "trials": len(left.trials),
        "test_images": len(left.paths),
        "p_exact": sign_flip(hits_TN, other_TN) if metric == "accuracy" else math.nan,
        "target": target,
    }
    if not math.isfinite(half):
        return row
    return row | standard_errors(left.trials, over_trials_T, spread, design) | _needed(spread, design, target)


def _needed(spread: Spread, design: Design, target: float) -> dict[str, float]:
    """Return where the uncertainty of a difference comes from, and what would make it small enough."""
    if design.test_to_train:
        sd = math.sqrt(spread.over_trials * spread.trials)
        return {
            "trial_sd": sd,
            "trials_needed": trials_needed_of_re_splits(sd, design.test_to_train, target),
            "trials_for_power": trials_needed_of_re_splits(sd, design.test_to_train, target, POWER),
        }
    budget = Budget.of(spread)
    return {
        "trial_sd": math.sqrt(budget.trial),
        "image_sd": math.sqrt(budget.image),
        "both_sd": math.sqrt(budget.both),
        "images_needed": budget.units_needed(target),
        "trials_needed": budget.trials_needed(target),
        "images_for_power": budget.units_needed(target, POWER),
        "trials_for_power": budget.trials_needed(target, POWER),
    }
