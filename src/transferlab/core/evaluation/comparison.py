"""The tables `comparison` and `differences`: what each strategy gets, how sure that is, and which may be the best.

Trial t of every strategy has the same seed, hence the same order of images and, where they augment alike, the same
views; all strategies are tested on the same images. Differences are therefore paired, by trial and by image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from transferlab.core.errors import MendableError
from transferlab.core.evaluation import intervals
from transferlab.core.evaluation.best_set import behind_the_best, one_sided
from transferlab.core.evaluation.contributions import LOWER_IS_BETTER, METRICS, Outcomes
from transferlab.core.evaluation.exact import sign_flip
from transferlab.core.evaluation.optimism import optimism
from transferlab.core.evaluation.variance import POWER, Budget, Spread, per_unit

Floats = NDArray[np.float64]

# Of fewer trials the variance between seeds is all but unknown: they are shown and not ranked.
FEWEST_TRIALS = 3
PAIRED_METRICS = ("accuracy", "log_loss")
# The half-width, and the difference to detect, that numbers of images and trials needed are given for.
TARGET = 0.01


@dataclass(frozen=True)
class Design:
    """What decides, and how the trials were made.

    Attributes:
        metric: the metric that decides between strategies.
        margin: how far behind the best a strategy may be and still count as good enough; None for no such margin.
        groups: the group of each test image by path; None makes each image its own.
        test_to_train: test images over training images where trials have random splits of their own, else 0.
    """

    metric: str = "accuracy"
    margin: float | None = None
    groups: pd.Series | None = None
    test_to_train: float = 0.0

    def units(self, outcomes: Outcomes, values_TN: Floats) -> Floats:
        """Return the values (T, U) of images, or of groups of them."""
        return per_unit(values_TN, None if self.groups is None else self.groups.loc[list(outcomes.paths)].to_numpy())


BY_ACCURACY = Design()


class DifferentImagesError(MendableError):
    """Two strategies were tested on different images."""


def compare(metrics: pd.DataFrame, outcomes: Sequence[Outcomes], design: Design = BY_ACCURACY) -> pd.DataFrame:
    """Return the table `comparison`: a row per strategy and metric.

    `mean, low, high, sd` are over trials: would other seeds give this, on these test images? `low_images, high_images`
    is over trials and test images: would it hold on new photographs? `standing` is `may be best`, `behind` or `not
    ranked`, and `behind_at_most` is how far the strategy may be behind the best; over all strategies these hold
    together with a probability of 95%. `corrected` is the highest mean less what it owes to having been chosen.

    Args:
        metrics: the table `metrics`, of one split.
        outcomes: what each strategy said of these images.
        design: what decides, and how the trials were made.

    Raises:
        DifferentImagesError: the strategies were tested on different images.
    """
    _check_images(outcomes)
    rows: list[dict[str, Any]] = []
    known = {each.strategy: each for each in outcomes}
    standings = {metric: _standings(outcomes, metric, design) for metric in METRICS}
    for (strategy, metric), group in metrics.groupby(["strategy", "metric"], sort=False):
        values_T = group["value"].to_numpy(dtype=float)
        low, high = intervals.over_trials(values_T)
        own = known[str(strategy)]
        low_images, high_images = math.nan, math.nan
        if metric in METRICS:
            values_TU = design.units(own, own.contributions(str(metric)))
            low_images, high_images = intervals.of_metric(values_TU, len(own.paths), str(metric), design.test_to_train)
        rows.append(
            {
                "strategy": strategy,
                "metric": metric,
                "mean": values_T.mean(),
                "low": low,
                "high": high,
                "sd": values_T.std(ddof=1) if len(values_T) > 1 else math.nan,
                "trials": len(values_T),
                "test_images": len(own.paths),
                "selection": group["selection"].iloc[0],
                "low_images": low_images,
                "high_images": high_images,
                **standings.get(str(metric), {}).get(str(strategy), NOT_RANKED),
                "decides": metric == design.metric,
                "margin": math.nan if design.margin is None else design.margin,
            }
        )
    return pd.DataFrame(rows)


def _check_images(outcomes: Sequence[Outcomes]) -> None:
    for one, other in pairwise(outcomes):
        if one.paths != other.paths:
            names = f"{one.strategy} and {other.strategy}"
            raise DifferentImagesError(
                f"{names} were evaluated on different test images: run both again (--from-nodes=split_images)"
            )


NOT_RANKED = {"standing": "not ranked", "behind_at_most": math.nan, "corrected": math.nan}


def _standings(outcomes: Sequence[Outcomes], metric: str, design: Design) -> dict[str, dict[str, Any]]:
    """Return standing, distance behind the best and corrected mean of every strategy with enough trials."""
    ranked = [each for each in outcomes if len(each.trials) >= FEWEST_TRIALS]
    if len(ranked) < 2:
        return {}
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    values = [sign * each.contributions(metric) for each in ranked]
    if any(np.isnan(value_TN).all() for value_TN in values):  # AUROC, where a class has no test image
        return {}
    gap_SS, half_SS = np.zeros((len(ranked),) * 2), np.full((len(ranked),) * 2, np.inf)
    for i, j in combinations(range(len(ranked)), 2):
        spread = _spread(ranked[i], ranked[j], values[i], values[j], metric, design)
        half = intervals.half_width(spread, one_sided(len(ranked)), design.test_to_train)
        if spread.trials >= FEWEST_TRIALS and math.isfinite(half):
            gap_SS[i, j], gap_SS[j, i], half_SS[i, j], half_SS[j, i] = spread.mean, -spread.mean, half, half
    may_be_best_S, behind_S = behind_the_best(gap_SS, half_SS)
    mean_S = np.array([np.nanmean(value_TN) for value_TN in values])
    leader = int(mean_S.argmax())
    corrected = sign * (mean_S[leader] - _leaders_luck(ranked, values, design))
    return {
        each.strategy: {
            "standing": "may be best" if may_be_best_S[place] else "behind",
            "behind_at_most": behind_S[place],
            "corrected": corrected if place == leader else math.nan,
        }
        for place, each in enumerate(ranked)
    }


def _leaders_luck(ranked: Sequence[Outcomes], values: Sequence[Floats], design: Design) -> float:
    """Return the optimism of the highest mean over the trials that all have; NaN where they share fewer than two."""
    shared = sorted(set.intersection(*(set(each.trials) for each in ranked)))
    if len(shared) < 2:
        return math.nan
    return optimism(
        np.stack(
            [
                design.units(each, value_TN[[each.trials.index(trial) for trial in shared]])
                for each, value_TN in zip(ranked, values, strict=True)
            ]
        )
    )


def differences(
    outcomes: Sequence[Outcomes], design: Design = BY_ACCURACY, target: float | None = None
) -> pd.DataFrame:
    """Return the table `differences`: each strategy against each other.

    `low, high` is the paired interval over trials: would other seeds give this, on these test images? `low_images,
    high_images` is over trials and test images: would it hold on new photographs? `trial_sd`, `image_sd` and `both_sd`
    say where the uncertainty comes from (`variance.Budget`); `images_needed` and `trials_needed` bring the half-width
    of the latter interval to `target`, `images_for_power` and `trials_for_power` detect a difference of `target` with a
    probability of 80%; infinity where no number does. With groups, `images_` counts groups. `p_exact` is
    `exact.sign_flip`.

    Args:
        outcomes: what each strategy said of the test images.
        design: what decides, and how the trials were made.
        target: None takes the margin, or else one point.

    Raises:
        DifferentImagesError: the strategies were tested on different images.
    """
    _check_images(outcomes)
    rows = []
    for one, other in combinations(outcomes, 2):
        for metric in dict.fromkeys((*PAIRED_METRICS, design.metric)):
            values = one.contributions(metric), other.contributions(metric)
            rows.append(
                {"strategy": one.strategy, "versus": other.strategy, "metric": metric}
                | _difference(one, other, values, metric, design, target or design.margin or TARGET)
            )
    return pd.DataFrame(rows, columns=COLUMNS)


COLUMNS = (
    "strategy", "versus", "metric", "difference", "low", "high", "low_images", "high_images", "trials", "test_images",
    "p_exact", "trial_sd", "image_sd", "both_sd", "target", "images_needed", "trials_needed", "images_for_power",
    "trials_for_power",
)  # fmt: skip


def _difference(
    one: Outcomes, other: Outcomes, values: tuple[Floats, Floats], metric: str, design: Design, target: float
) -> dict[str, Any]:
    left_TN, right_TN = _on_shared_trials(one, other, *values)
    spread = _spread(one, other, *values, metric, design)
    low, high = intervals.over_trials(np.nanmean(left_TN, axis=1) - np.nanmean(right_TN, axis=1))
    half = intervals.half_width(spread, test_to_train=design.test_to_train)
    row = {
        "difference": spread.mean,
        "low": low,
        "high": high,
        "low_images": spread.mean - half,
        "high_images": spread.mean + half,
        "trials": spread.trials,
        "test_images": len(one.paths),
        "p_exact": sign_flip(np.nan_to_num(left_TN), np.nan_to_num(right_TN)) if metric == "accuracy" else math.nan,
        "target": target,
    }
    if spread.trials < 2 or spread.units < 2 or not math.isfinite(half):
        return row
    budget = Budget.of(spread)
    return row | {
        "trial_sd": math.sqrt(budget.trial),
        "image_sd": math.sqrt(budget.image),
        "both_sd": math.sqrt(budget.both),
        "images_needed": budget.units_needed(target),
        "trials_needed": budget.trials_needed(target),
        "images_for_power": budget.units_needed(target, POWER),
        "trials_for_power": budget.trials_needed(target, POWER),
    }


def _spread(one: Outcomes, other: Outcomes, left_TN: Floats, right_TN: Floats, metric: str, design: Design) -> Spread:
    """Return mean and variances of a paired difference over the trials that both have."""
    left_TN, right_TN = _on_shared_trials(one, other, left_TN, right_TN)
    if not len(left_TN):
        return Spread(math.nan, math.nan, math.nan, 0.0, 0, left_TN.shape[1])
    return Spread.of(design.units(one, left_TN - right_TN), intervals.PSEUDO[metric])


def _on_shared_trials(one: Outcomes, other: Outcomes, left_TN: Floats, right_TN: Floats) -> tuple[Floats, Floats]:
    """Return the rows of the trials that both have."""
    shared = sorted(set(one.trials) & set(other.trials))
    return (
        left_TN[[one.trials.index(trial) for trial in shared]],
        right_TN[[other.trials.index(trial) for trial in shared]],
    )
