"""Where the error of a mean over trials and test images comes from, and what would make it smaller.

Every trial sees the same test images: a crossed design of two random factors. The value of trial t on image i is
`mean + trial_t + image_i + both_ti`; `both` is what a trial does to one image only (Searle, Casella and McCulloch 1992,
"Variance Components", chapter 4).

Shapes: T trials, N images, U units (images, or groups of images that belong together).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEVEL = 0.95
POWER = 0.8
MOST_TRIALS = 1_000


def per_unit(values_TN: Floats, group_N: NDArray[np.generic] | None = None) -> Floats:
    """Return values (T, U) whose mean over units is the trial's mean over its images.

    A group of images becomes one unit, weighted by its size (the linearised ratio mean of survey sampling: Cochran
    1977, "Sampling Techniques", section 9A). An image that a trial did not test (NaN) adds nothing to that trial.

    Args:
        values_TN: one value per trial and image.
        group_N: the group of each image; None makes each image its own.
    """
    tested_TN = ~np.isnan(values_TN)
    share_T1 = np.where(tested_TN.any(axis=1, keepdims=True), tested_TN.sum(axis=1, keepdims=True), np.nan)
    mean = float(np.mean(np.nansum(values_TN, axis=1) / share_T1[:, 0]))
    unit_N = np.arange(values_TN.shape[1]) if group_N is None else np.unique(group_N, return_inverse=True)[1]
    units = int(unit_N.max()) + 1
    deviation_TN = np.where(tested_TN, values_TN - mean, 0.0) * units / share_T1
    sum_UT = np.zeros((units, len(values_TN)))
    np.add.at(sum_UT, unit_N, deviation_TN.T)
    return sum_UT.T + mean


@dataclass(frozen=True)
class Spread:
    """The mean of values (T, U), and three estimates of its variance.

    Attributes:
        mean: over trials and units.
        over_trials: variance of the mean as the trials' means show it: `trial` and `both`. NaN for one trial.
        over_units: as the units' means show it: `image` and `both`. NaN for one unit.
        of_both: as the residual shows it: `both` alone. 0 for one trial.
        trials: T.
        units: U.
    """

    mean: float
    over_trials: float
    over_units: float
    of_both: float
    trials: int
    units: int

    @classmethod
    def of(cls, values_TU: Floats, pseudo: float = 0.0) -> Spread:
        """Estimate the variances.

        Args:
            values_TU: one value per trial and unit.
            pseudo: sum of squares that is added over units, so that values which happen to be all equal are not taken
                for a certainty.
        """
        trials, units = values_TU.shape
        mean, trial_T, unit_U = float(values_TU.mean()), values_TU.mean(axis=1), values_TU.mean(axis=0)
        over_trials = float(trial_T.var(ddof=1) / trials) if trials > 1 else math.nan
        over_units = (float(((unit_U - mean) ** 2).sum()) + pseudo) / (units * (units - 1)) if units > 1 else math.nan
        rest_TU = values_TU - trial_T[:, None] - unit_U + mean
        freedom = (trials - 1) * (units - 1)
        of_both = float((rest_TU**2).sum() / freedom / (trials * units)) if freedom else 0.0
        return cls(mean, over_trials, over_units, of_both, trials, units)


@dataclass(frozen=True)
class Budget:
    """Variance components of one value (not of the mean), and the interval that other numbers of them would give.

    Attributes:
        trial: variance between trials: seeds, and the training sample where trials have splits of their own.
        image: variance between test images (between groups, where groups are the units).
        both: variance of what one trial does to one image.
        trials: how many trials there are.
        units: how many images (groups) there are.
    """

    trial: float
    image: float
    both: float
    trials: int
    units: int

    @classmethod
    def of(cls, spread: Spread) -> Budget:
        """Split the variance; a component that would be negative is 0."""
        size = spread.trials * spread.units
        return cls(
            max(0.0, spread.over_trials - spread.of_both) * spread.trials,
            max(0.0, spread.over_units - spread.of_both) * spread.units,
            spread.of_both * size,
            spread.trials,
            spread.units,
        )

    def half_width(self, trials: float, units: float, power: float | None = None) -> float:
        """Return the expected half-width of the 95% interval, or the difference that it detects with a given power.

        Args:
            trials: how many; `math.inf` is allowed.
            units: how many; `math.inf` is allowed.
            power: None for the half-width.
        """
        t_trials, t_units = _standard_errors(trials - 1, power), _standard_errors(units - 1, power)
        seeds = t_trials**2 * (self.trial + self.both / units) / trials
        return math.sqrt(seeds + t_units**2 * self.image / units)

    def units_needed(self, target: float, power: float | None = None) -> float:
        """Return how many images (groups), with these trials, bring the half-width to `target`; infinity if none do."""
        if self.half_width(self.trials, math.inf, power) >= target:
            return math.inf
        return _smallest(lambda units: self.half_width(self.trials, units, power) <= target)

    def trials_needed(self, target: float, power: float | None = None) -> float:
        """Return how many trials, on these images, bring the half-width to `target`; infinity if none do."""
        if self.half_width(MOST_TRIALS, self.units, power) > target:
            return math.inf
        return _smallest(lambda trials: self.half_width(trials, self.units, power) <= target)


def trials_needed_of_re_splits(sd: float, test_to_train: float, target: float, power: float | None = None) -> float:
    """Return how many re-splits bring the half-width of the corrected interval to `target`; infinity if none do.

    Args:
        sd: standard deviation between re-splits.
        test_to_train: as in `intervals.half_width`.
        target: the half-width, or the difference to detect.
        power: the probability to detect it; None for the half-width.
    """

    def half_width(trials: float) -> float:
        return _standard_errors(trials - 1, power) * sd * math.sqrt(1 / trials + test_to_train)

    return math.inf if half_width(MOST_TRIALS) > target else _smallest(lambda trials: half_width(trials) <= target)


def split_training_sample(trial_T: Floats, split_T: NDArray[np.generic]) -> tuple[float, float]:
    """Split the variance between trials into seeds and training sample, where splits have several seeds.

    One-way analysis of variance with splits as groups; unequal numbers of seeds are averaged as Searle et al. (1992,
    section 3.6) do.

    Args:
        trial_T: each trial's mean.
        split_T: the split that each trial was trained on.

    Returns:
        Variance of seeds within a split, and of splits; NaN where no split has two trials or there is one split.
    """
    split_T = np.unique(split_T, return_inverse=True)[1]
    count_S = np.bincount(split_T)
    splits, trials = len(count_S), len(trial_T)
    if splits < 2 or trials == splits:
        return math.nan, math.nan
    mean_S = np.bincount(split_T, weights=trial_T) / count_S
    within = float(((trial_T - mean_S[split_T]) ** 2).sum() / (trials - splits))
    between = float((count_S * (mean_S - trial_T.mean()) ** 2).sum() / (splits - 1))
    size = (trials - float((count_S**2).sum()) / trials) / (splits - 1)
    return within, max(0.0, (between - within) / size)


@cache
def t_quantile(probability: float, freedom: float) -> float:
    """Return the quantile of Student's t; NaN for 0 degrees of freedom."""
    from scipy import stats  # takes a second to load, which a run need not wait for before it trains

    return float(stats.t.ppf(probability, freedom) if math.isfinite(freedom) else stats.norm.ppf(probability))


def _standard_errors(freedom: float, power: float | None) -> float:
    """Return how many standard errors a half-width is, or a difference detected with a given power."""
    return t_quantile((1 + LEVEL) / 2, freedom) + (0.0 if power is None else t_quantile(power, freedom))


def _smallest(is_enough: Callable[[int], bool]) -> float:
    """Return the smallest number from 2 that is enough, of a property that stays true once it is."""
    high = 2
    while not is_enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return float(high)
