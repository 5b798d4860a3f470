"""Populations of small experiments whose truth is known by integration; `coverage` says how they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

Floats = NDArray[np.float64]
SHARPNESS = 1.5  # of the probabilities that a margin becomes
NODES_Q, WEIGHTS_Q = np.polynomial.hermite_e.hermegauss(60)


@dataclass(frozen=True)
class Population:
    """Strategies, by the accuracy each has over all seeds and images, and standard deviations of the margin's parts."""

    accuracy: tuple[float, ...]
    trial: float
    both: float
    image: float = 1.0
    own: float = 0.4
    second_class: float = 0.3
    """Share of the second class, whose margin is 0.3 lower than the first's."""

    @property
    def shift(self) -> tuple[float, float]:
        """What is added to the margin of images of each class."""
        return 0.0, -0.3

    def within(self) -> float:
        """Return the standard deviation of the margin within a trial."""
        return math.sqrt(self.image**2 + self.own**2 + self.both**2)

    def centers(self) -> Floats:
        """Return the mean margin of each strategy that gives its accuracy."""
        grid = np.linspace(-5, 8, 4001)
        right = self._mean_over_trials(self._accuracy, grid)
        return np.interp(self.accuracy, right, grid)

    def truth(self) -> dict[str, Floats]:
        """Return each metric's expectation over seeds and images, per strategy."""
        centers = self.centers()
        of = {
            "accuracy": self._accuracy,
            "balanced_accuracy": lambda m: np.mean([self._right(m, k) for k in (0, 1)], axis=0),
            "macro_f1": self._macro_f1,
            "auroc": lambda m: stats.norm.cdf((2 * m + sum(self.shift)) / (math.sqrt(2) * self.within())),
            "log_loss": self._log_loss,
        }
        return {name: self._mean_over_trials(each, centers) for name, each in of.items()}

    def draw(
        self,
        rng: np.random.Generator,
        trials: int,
        images: int,
        group_N: NDArray[np.int64] | None = None,
        shared: float = 0.0,
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Return probabilities (S, T, N, 2) and truths (N,) of a small experiment.

        With groups, images of a group share this part of the variance of their hardness.
        """

        def hardness(*leading: int) -> Floats:
            alone = rng.standard_normal((*leading, images))
            if group_N is None:
                return alone
            of_group = rng.standard_normal((*leading, group_N.max() + 1))[..., group_N]
            return math.sqrt(shared) * of_group + math.sqrt(1 - shared) * alone

        truth_N = (rng.random(images) < self.second_class).astype(np.int64)
        size = (len(self.accuracy), trials, images)
        margin_STN = (
            self.centers_once()[:, None, None]
            + np.array(self.shift)[truth_N]
            + self.image * hardness()
            + self.own * hardness(size[0], 1)
            + self.trial * rng.standard_normal((*size[:2], 1))
            + self.both * rng.standard_normal(size)
        )
        p_STN = expit(SHARPNESS * margin_STN * (2 * truth_N - 1))
        return np.stack([1 - p_STN, p_STN], axis=-1), truth_N

    def centers_once(self) -> Floats:
        """Return `centers`, computed once."""
        if self not in _CENTERS:
            _CENTERS[self] = self.centers()
        return _CENTERS[self]

    def _mean_over_trials(self, of: Any, center_S: Floats) -> Floats:
        values_SQ = of(center_S[:, None] + self.trial * NODES_Q)
        mean: Floats = values_SQ @ WEIGHTS_Q / WEIGHTS_Q.sum()
        return mean

    def right_given(self, margin: Floats) -> Floats:
        """Return the accuracy on other images of networks with these mean margins."""
        return self._accuracy(margin)

    def _right(self, margin: Floats, of_class: int) -> Floats:
        right: Floats = stats.norm.cdf((margin + self.shift[of_class]) / self.within())
        return right

    def _accuracy(self, margin: Floats) -> Floats:
        return (1 - self.second_class) * self._right(margin, 0) + self.second_class * self._right(margin, 1)

    def _macro_f1(self, margin: Floats) -> Floats:
        share, hit = (1 - self.second_class, self.second_class), [self._right(margin, k) for k in (0, 1)]
        said = [share[k] * hit[k] + share[1 - k] * (1 - hit[1 - k]) for k in (0, 1)]
        return np.mean([2 * share[k] * hit[k] / (said[k] + share[k]) for k in (0, 1)], axis=0)

    def _log_loss(self, margin: Floats) -> Floats:
        share = (1 - self.second_class, self.second_class)
        at = margin[..., None] + self.within() * NODES_Q
        nats = [np.logaddexp(0, -SHARPNESS * (at + self.shift[k])) @ WEIGHTS_Q / WEIGHTS_Q.sum() for k in (0, 1)]
        mean: Floats = share[0] * nats[0] + share[1] * nats[1]
        return mean


_CENTERS: dict[Population, Floats] = {}
POPULATIONS = {
    "frozen: seeds hardly differ": Population((0.90, 0.90, 0.89, 0.86), trial=0.03, both=0.15),
    "tuned: seeds flip hard images": Population((0.90, 0.90, 0.89, 0.86), trial=0.05, both=0.7),
    "unstable: seeds differ by 3 points": Population((0.90, 0.90, 0.89, 0.86), trial=0.22, both=0.7),
    "erratic: seeds differ by 10 points": Population((0.90, 0.90, 0.89, 0.86), trial=0.8, both=0.7),
    "equal: nothing to find": Population((0.9, 0.9, 0.9, 0.9), trial=0.05, both=0.4),
}
