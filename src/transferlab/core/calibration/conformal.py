"""Prediction sets that hold the true class with a chosen probability (split conformal prediction).

The threshold is calibrated on images that no decision has seen, from the same source as the images to predict; averaged
over calibration samples, the sets of new images then hold the truth with at least the probability asked for (Vovk,
Gammerman and Shafer 2005; an introduction: Angelopoulos and Bates 2023). Of one calibration sample it varies: see
`realised_coverage_sd`.

Shapes: N images, K classes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Method = Literal["lac", "raps"]

LEVEL = 0.9
# RAPS: what each class beyond the first costs (Angelopoulos et al. 2021 use 0.01 beyond the fifth, of 1,000 classes).
PENALTY, FREE = 0.01, 1


@dataclass(frozen=True)
class PredictionSets:
    """A calibrated rule that says which classes an image may have.

    Attributes:
        method: `lac` gives the smallest sets on average (Sadinle, Lei and Wasserman 2019) and may give empty ones;
            `raps` adapts to the image's difficulty (Angelopoulos et al. 2021) and never does.
        level: the probability with which a set holds the truth.
        threshold: classes whose score does not exceed it are in the set; infinity where the calibration images are too
            few for the level, so that every class is.
    """

    method: Method
    level: float
    threshold: float

    def of(self, p_NK: Floats) -> NDArray[np.bool_]:
        """Return which classes (N, K) are in the set of each image."""
        is_in_NK: NDArray[np.bool_] = SCORES[self.method](p_NK) <= self.threshold
        if self.method == "raps":
            is_in_NK[np.arange(len(p_NK)), p_NK.argmax(axis=1)] = True
        return is_in_NK


def calibrate(p_NK: Floats, truth_N: Ints, level: float = LEVEL, method: Method = "lac") -> PredictionSets:
    """Calibrate prediction sets on held-out images.

    Args:
        p_NK: class probabilities.
        truth_N: true classes.
        level: the probability with which a set holds the truth, between 0 and 1.
        method: see `PredictionSets`.
    """
    score_N = np.sort(SCORES[method](p_NK)[np.arange(len(truth_N)), truth_N])
    rank = math.ceil((len(score_N) + 1) * level)
    return PredictionSets(method, level, float(score_N[rank - 1]) if rank <= len(score_N) else math.inf)


def fewest_images(level: float) -> int:
    """Return how many calibration images it takes for sets that can leave out a class."""
    return next(images for images in itertools.count(1) if math.ceil((images + 1) * level) <= images)


def realised_coverage_sd(images: int, level: float) -> float:
    """Return the standard deviation, over calibration samples of so many images, of the share that the sets will hold.

    That share has a beta distribution (Vovk 2012, "Conditional validity of inductive conformal predictors"). It is 0
    below `fewest_images`, where sets hold every class.
    """
    rank = math.ceil((images + 1) * level)
    if rank > images:
        return 0.0
    a, b = rank, images + 1 - rank
    return math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))


def _lac(p_NK: Floats) -> Floats:
    """Return one minus the probability of each class."""
    return 1 - p_NK


def _raps(p_NK: Floats) -> Floats:
    """Return the probability of all classes before each one and half its own, plus a penalty for each beyond the first.

    Angelopoulos et al. add a random share of a class's own probability. With all of it the sets of two classes hold
    nearly always both; with half of it they are as good as with a random share, and the same image gets the same set.
    """
    order_NK = np.argsort(-p_NK, axis=1, kind="stable")
    sorted_NK = np.take_along_axis(p_NK, order_NK, axis=1)
    down_to_NK = sorted_NK.cumsum(axis=1) - sorted_NK / 2
    down_to_NK += PENALTY * np.maximum(0, np.arange(1, p_NK.shape[1] + 1) - FREE)
    score_NK: Floats = np.empty_like(down_to_NK)
    np.put_along_axis(score_NK, order_NK, down_to_NK, axis=1)
    return score_NK


SCORES: dict[str, Callable[[Floats], Floats]] = {"lac": _lac, "raps": _raps}
