"""Intervals (95%) that count every source of error: trials, and test images or groups of them.

Two sources are put together by the method of variance estimates recovery (Zou and Donner 2008, Statistics in Medicine
27): each keeps the quantile of its own degrees of freedom, and half-widths add as squares. Satterthwaite's single
number of degrees of freedom fails where one variance comes from two or three trials: simulated coverage falls below
90%. No interval is narrower than that of either source alone.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from transferlab.core.evaluation.variance import LEVEL, Spread, t_quantile

Floats = NDArray[np.float64]
Interval = tuple[float, float]
TWO_SIDED = (1 + LEVEL) / 2

ROUNDING = 1e-24  # a variance of the mean of a million images that differ in one is larger

# Squares that a difference over images is widened by, so that strategies which agree on every test image are not taken
# for equal on all others. Bonett and Price (2012, J. Educational and Behavioral Statistics 37) add one image to each
# way of disagreeing. An image that is ranked at random has a third of that in AUROC; log loss is never equal by chance.
DISAGREEING = 2.0
PSEUDO = {
    "accuracy": DISAGREEING,
    "balanced_accuracy": DISAGREEING,
    "macro_f1": DISAGREEING,
    "auroc": DISAGREEING / 3,
    "log_loss": 0.0,
}


def pseudo(metric: str, units: int, images: int) -> float:
    """Return the squares that a difference over units is widened by: `PSEUDO` images, in groups that disagree whole."""
    return PSEUDO[metric] * units / images


def over_trials(values_T: Floats, test_to_train: float = 0.0) -> Interval:
    """Return Student's t interval of a mean over T trials; NaN for one trial. `test_to_train` as in `half_width`."""
    if len(values_T) < 2:
        return math.nan, math.nan
    variance = values_T.var(ddof=1) * (1 / len(values_T) + test_to_train)
    half = t_quantile(TWO_SIDED, len(values_T) - 1) * math.sqrt(variance)
    return float(values_T.mean()) - half, float(values_T.mean()) + half


def half_width(spread: Spread, probability: float = TWO_SIDED, test_to_train: float = 0.0) -> float:
    """Return the half-width of the interval of a mean over trials and images; NaN for one trial or one image.

    Args:
        spread: the mean's variances.
        probability: that of each side: 0.975 for a two-sided interval of 95%.
        test_to_train: 0 when all trials share their test images. Trials on random re-splits share training images,
            so that their variance is too small by a factor that Nadeau and Bengio (2003, Machine Learning 52) correct
            with this number: test images over training images of a split. The same is used for folds, whose variance
            has no unbiased estimate (Bengio and Grandvalet 2004, JMLR 5); for repeated ones Bouckaert and Frank (2004,
            PAKDD) recommend it.
    """
    t_trials, t_units = (t_quantile(probability, n - 1) for n in (spread.trials, spread.units))
    alone = t_trials * math.sqrt(spread.over_trials * (1 + spread.trials * test_to_train))
    if test_to_train:  # a trial's mean varies with its test images, too
        return max(alone, t_units * math.sqrt(spread.over_units))
    seeds = t_trials * math.sqrt(max(spread.over_trials - spread.of_both, 0.0))
    return max(alone, math.hypot(seeds, t_units * math.sqrt(max(spread.over_units, spread.of_both))))


def of_metric(values_TU: Floats, images: int, metric: str = "accuracy", test_to_train: float = 0.0) -> Interval:
    """Return the interval of a metric's mean over trials and images; for one trial that over images alone.

    Metrics between 0 and 1 get Wilson's score interval (1927), with the number of images that has the same variance in
    a simple random sample (Korn and Graubard 1998, Survey Methodology 24), widened by the variance between trials. That
    of accuracy is never narrower than the binomial one.

    Args:
        values_TU: contributions per trial and unit (`variance.per_unit`).
        images: how many test images there are.
        metric: a metric of `contributions.METRICS`.
        test_to_train: as in `half_width`.
    """
    spread = Spread.of(values_TU)
    mean, t_units = spread.mean, t_quantile(TWO_SIDED, spread.units - 1)
    over_units = max(spread.over_units, spread.of_both)
    if metric == "log_loss":
        low = high = t_units * math.sqrt(over_units)
    else:
        size = mean * (1 - mean) / over_units if over_units > ROUNDING else spread.units
        low, high = _wilson(mean, min(size, images) if metric == "accuracy" else size, t_units)
    if spread.trials == 1:
        return mean - low, mean + high
    t_trials = t_quantile(TWO_SIDED, spread.trials - 1)
    alone = t_trials * math.sqrt(spread.over_trials * (1 + spread.trials * test_to_train))
    seeds = 0.0 if test_to_train else t_trials * math.sqrt(max(spread.over_trials - spread.of_both, 0.0))
    return mean - max(math.hypot(low, seeds), alone), mean + max(math.hypot(high, seeds), alone)


def _wilson(mean: float, size: float, z: float) -> tuple[float, float]:
    """Return how far Wilson's interval reaches below and above a mean of `size` values of 0 or 1."""
    mean = min(max(mean, 0.0), 1.0)
    center = (mean + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z / (1 + z**2 / size) * math.sqrt(mean * (1 - mean) / size + z**2 / (4 * size**2))
    # The mean is within, but for rounding at 0 and 1.
    return max(mean - (center - half), 0.0), max(center + half - mean, 0.0)
