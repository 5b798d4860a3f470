"""The tables of a learning curve: what was measured on parts of the training images, and what more images would bring.

Shapes: K sizes, D draws, N test images, U of them or of their groups, B samples of the curve, M numbers of images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from transferlab.core.evaluation import intervals
from transferlab.core.evaluation.contributions import Outcomes
from transferlab.core.evaluation.design import Design
from transferlab.core.evaluation.power_law import Extrapolation
from transferlab.core.metrics import LOWER_IS_BETTER

Floats = NDArray[np.float64]
LEVEL = 0.9  # of what is extrapolated; what was measured has the intervals of the other tables
FEWEST_SIZES, FEWEST_DRAWS = 4, 3  # three parameters go through three sizes whatever these say
SMALLEST_PART = 1 / 16  # of all images: below it curves are of another shape
FARTHEST = 4.0  # times all images: up to where curves are looked at for a crossing
_STEPS = 200

POINTS = ("strategy", "metric", "images", "draws", "test_images", "mean", "low", "high", "low_images", "high_images",
          "lowest", "highest")  # fmt: skip
FITS = ("strategy", "metric", "images", "sizes", "draws", "a", "b", "c", "level", "now", "now_low", "now_high",
        "doubled", "doubled_low", "doubled_high", "gain", "gain_low", "gain_high", "trainings",
        "diverged", "refused")  # fmt: skip
BAND = ("strategy", "metric", "images", "value", "low", "high")
CROSSINGS = ("few", "many", "metric", "images", "low", "high", "level")


class CurveTables(NamedTuple):
    """The tables of a learning curve.

    Attributes:
        points: a row per strategy and size: the mean over draws, with intervals as in `comparison`.
        fits: a row per strategy: its curve, what doubling the images should bring, or why nothing can be said.
        band: the fitted curve and its interval, up to twice the images.
        crossings: pairs of strategies of which one is better with few images, the other with many.
    """

    points: pd.DataFrame
    fits: pd.DataFrame
    band: pd.DataFrame
    crossings: pd.DataFrame


@dataclass(frozen=True)
class Measured:
    """What one strategy reached on parts of the training images.

    A training that diverged has no figures. Sizes at which every training did are left out, and then the draws that
    lack one of the other sizes.

    Attributes:
        strategy: its name.
        metric: the metric.
        images_K: training images, ascending; means over draws where groups make them differ.
        values_KDU: contributions to the metric.
        test_images: N.
        trainings: how many there were.
        diverged: how many of them did.
    """

    strategy: str
    metric: str
    images_K: Floats
    values_KDU: Floats
    test_images: int
    trainings: int = 0
    diverged: int = 0

    @classmethod
    def of(cls, outcomes: Outcomes, subsets: pd.DataFrame, design: Design) -> Measured:
        """Arrange the predictions of all trainings by size and draw.

        Args:
            outcomes: what the trainings said of the test images; their trials are numbers of parts.
            subsets: see `training_subsets`.
            design: metric and groups.
        """
        values_TU = design.units(outcomes.trials, outcomes.paths, outcomes.contributions(design.metric))
        row_of = {trial: row for row, trial in enumerate(outcomes.trials)}
        parts = subsets.groupby("trial").agg(draw=("draw", "first"), asked=("asked", "first"), images=("path", "size"))
        parts["finished"] = parts.index.isin(outcomes.trials)
        reached = parts[parts.groupby("asked")["finished"].transform("any")]
        kept = reached[reached.groupby("draw")["finished"].transform("all")]
        rows_KD = [[row_of[int(trial)] for trial in own.index] for _, own in kept.groupby("asked")]
        images_K = kept.groupby("asked")["images"].mean().to_numpy(dtype=float)
        values_KDU = values_TU[np.array(rows_KD, dtype=int)] if rows_KD else np.empty((0, 0, values_TU.shape[1]))
        diverged = int((~parts["finished"]).sum())
        return cls(outcomes.strategy, design.metric, images_K, values_KDU, len(outcomes.paths), len(parts), diverged)

    @property
    def extrapolable(self) -> NDArray[np.bool_]:
        """Which sizes (K,) a curve is fitted to."""
        large_K: NDArray[np.bool_] = self.images_K >= self.images_K.max(initial=0) * SMALLEST_PART * (1 - 1e-9)
        return large_K

    @property
    def refusal(self) -> str:
        """Why no curve can be fitted; empty where one can."""
        sizes, draws = int(self.extrapolable.sum()), self.values_KDU.shape[1]
        lost = f" ({self.diverged} of {self.trainings} trainings diverged)" if self.diverged else ""
        if draws < FEWEST_DRAWS:
            return f"only {draws} draws of training images are complete{lost}; it takes {FEWEST_DRAWS}"
        if sizes < FEWEST_SIZES:
            return (
                f"there are only {sizes} sizes of at least a sixteenth of the images with some of every class{lost}; "
                f"a curve takes {FEWEST_SIZES}"
            )
        if np.isnan(self.values_KDU).any():
            return "the metric is not defined on these test images"
        return ""

    @property
    def about(self) -> dict[str, Any]:
        """Return the columns of the table `fits` that say what it is of."""
        counts = {"draws": self.values_KDU.shape[1], "trainings": self.trainings, "diverged": self.diverged}
        return {"strategy": self.strategy, "metric": self.metric, **counts}

    def points(self) -> list[dict[str, Any]]:
        """Return a row of the table `points` for each size."""
        return [self._point(float(n), values_DU) for n, values_DU in zip(self.images_K, self.values_KDU, strict=True)]

    def _point(self, images: float, values_DU: Floats) -> dict[str, Any]:
        mean_D = values_DU.mean(axis=1)
        low, high = intervals.over_trials(mean_D)
        low_images, high_images = intervals.of_metric(values_DU, self.test_images, self.metric)
        ends = (low, high, low_images, high_images, mean_D.min(), mean_D.max())
        row = (self.strategy, self.metric, images, len(mean_D), self.test_images, mean_D.mean(), *ends)
        return dict(zip(POINTS, row, strict=True))

    def extrapolated(self) -> Extrapolation:
        """Fit the curve."""
        values_KDU = self.values_KDU[self.extrapolable]
        loss_KDU = values_KDU if self.metric in LOWER_IS_BETTER else 1 - values_KDU
        return Extrapolation.of(self.images_K[self.extrapolable], loss_KDU)


def curve_tables(measured: Sequence[Measured]) -> CurveTables:
    """Tabulate the learning curves of some strategies, which were tested on the same images."""
    fitted = {each.strategy: each.extrapolated() for each in measured if not each.refusal}
    of = {each.strategy: each for each in measured}
    fits = [_fit(each, fitted[each.strategy]) if each.strategy in fitted else _refused(each) for each in measured]
    bands = [row for name, curve in fitted.items() for row in _band(of[name], curve)]
    crossings = [row for one, other in combinations(fitted, 2) for row in _crossing(of[one], one, other, fitted)]
    return CurveTables(
        pd.DataFrame([row for each in measured for row in each.points()], columns=list(POINTS)),
        pd.DataFrame(fits, columns=list(FITS)),
        pd.DataFrame(bands, columns=list(BAND)),
        pd.DataFrame(crossings, columns=list(CROSSINGS)),
    )


def _refused(measured: Measured) -> dict[str, Any]:
    sizes = {"images": measured.images_K.max(initial=0), "sizes": len(measured.images_K)}
    return measured.about | sizes | {"refused": measured.refusal}


def _fit(measured: Measured, curve: Extrapolation) -> dict[str, Any]:
    images, law = float(measured.images_K.max()), curve.expected
    at_M = np.array([images, 2 * images])
    value_M, sample_BM = (_values(laws.at(at_M), measured.metric) for laws in (law, curve.samples))
    (now, doubled), gain_B = value_M[0], sample_BM[:, 1] - sample_BM[:, 0] + curve.luck_B
    row = measured.about | {"images": images, "sizes": int(measured.extrapolable.sum())}
    row |= {"a": law.a_B[0], "b": law.b_B[0], "c": law.c_B[0], "level": LEVEL, "refused": ""}
    for name, value, sample_B in (
        ("now", now, sample_BM[:, 0]),
        ("doubled", doubled, sample_BM[:, 1]),
        ("gain", doubled - now, gain_B),
    ):
        low, high = _ends(sample_B)
        row |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return row


def _band(measured: Measured, curve: Extrapolation) -> list[dict[str, Any]]:
    images_K = measured.images_K[measured.extrapolable]
    at_M = np.geomspace(images_K.min(), 2 * images_K.max(), 41)
    value_M, sample_BM = (_values(laws.at(at_M), measured.metric) for laws in (curve.expected, curve.samples))
    low_M, high_M = np.quantile(sample_BM, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    shared = {"strategy": measured.strategy, "metric": measured.metric}
    return [
        shared | {"images": n, "value": value, "low": low, "high": high}
        for n, value, low, high in zip(at_M, value_M[0], low_M, high_M, strict=True)
    ]


def _crossing(measured: Measured, one: str, other: str, fitted: Mapping[str, Extrapolation]) -> list[dict[str, Any]]:
    """Return a row if one strategy is better with few images and the other with many, within what was looked at."""
    images_K = measured.images_K[measured.extrapolable]
    at_M = np.geomspace(images_K.min(), FARTHEST * images_K.max(), _STEPS)
    gap_M = (fitted[one].expected.at(at_M) - fitted[other].expected.at(at_M))[0]  # of losses: below 0, one is ahead
    if gap_M[0] == 0 or gap_M[0] * gap_M[-1] >= 0:
        return []
    few, many = (one, other) if gap_M[0] < 0 else (other, one)
    expected = fitted[few].expected.at(at_M) - fitted[many].expected.at(at_M)
    gap_BM = fitted[few].samples.at(at_M) - fitted[many].samples.at(at_M)
    low, high = np.quantile(_overtaken(gap_BM, at_M), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")
    row = (few, many, measured.metric, _overtaken(expected, at_M)[0], low, high, LEVEL)
    return [dict(zip(CROSSINGS, row, strict=True))]


def _overtaken(gap_BM: Floats, at_M: Floats) -> Floats:
    """Return from how many images on (B,) the first is behind for good; infinity where it never is."""
    ahead_BM = gap_BM < 0
    last_B = ahead_BM.shape[1] - 1 - ahead_BM[:, ::-1].argmax(axis=1)
    never = ahead_BM[:, -1]
    found_B = np.where(ahead_BM.any(axis=1), at_M[np.minimum(last_B + 1, len(at_M) - 1)], at_M[0])
    return np.where(never, math.inf, found_B)


def _values(loss: Floats, metric: str) -> Floats:
    return loss if metric in LOWER_IS_BETTER else np.clip(1 - loss, 0.0, 1.0)


def _ends(sample_B: Floats) -> tuple[float, float]:
    low, high = np.quantile(sample_B, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
