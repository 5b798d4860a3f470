"""How often prediction sets hold the truth on test images, and how large they are.

Shapes: N test images, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from transferlab.core.calibration.conformal import Method, realised_coverage_sd
from transferlab.core.calibration.reference import Calibrated, Reference

COLUMNS = ("method", "level", "class", "images", "coverage", "set_size", "unfamiliar", "calibrated_on", "coverage_sd")
EVERY = ""  # in the column `class`: all test images


def coverage(
    references: Sequence[Reference],
    p_NK: NDArray[np.float64],
    distances: Sequence[NDArray[np.float64]],
    truth_N: NDArray[np.int64],
    classes: Sequence[str],
    level: float,
) -> pd.DataFrame:
    """Measure the sets and flags of one predictor on test images.

    Args:
        references: of its trials.
        p_NK: its probabilities.
        distances: of each of its trials, that of the images to the training images, (N,).
        truth_N: the true classes.
        classes: their names.
        level: the probability with which sets are to hold the truth.

    Returns:
        A row per method and class, and one for all classes (`EVERY`): images, coverage (the share of sets that hold the
        truth), set_size (mean), unfamiliar (the share of images that are flagged), calibrated_on (images), coverage_sd
        (of the share that sets hold, over calibration samples of so many images).
    """
    rows: list[dict[str, Any]] = []
    is_unfamiliar_N = None
    for method in get_args(Method):
        calibrated = Calibrated.of(references, level, method)
        if is_unfamiliar_N is None:
            is_unfamiliar_N = calibrated.familiarity.relative(np.mean(distances, axis=0)) > 1
        is_in_NK = calibrated.sets.of(p_NK)
        shared: dict[str, Any] = {"method": method, "level": level, "calibrated_on": calibrated.images}
        shared["coverage_sd"] = realised_coverage_sd(calibrated.images, level)
        rows += [
            {**shared, "class": name, **_of_images(is_in_NK[on_N], truth_N[on_N], is_unfamiliar_N[on_N])}
            for name, on_N in _parts(truth_N, classes)
        ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _parts(truth_N: NDArray[np.int64], classes: Sequence[str]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield all images, and those of each class that has any."""
    yield EVERY, np.ones(len(truth_N), dtype=bool)
    for label, name in enumerate(classes):
        if (truth_N == label).any():
            yield name, truth_N == label


def _of_images(
    is_in_NK: NDArray[np.bool_], truth_N: NDArray[np.int64], is_unfamiliar_N: NDArray[np.bool_]
) -> dict[str, float]:
    return {
        "images": len(truth_N),
        "coverage": float(is_in_NK[np.arange(len(truth_N)), truth_N].mean()),
        "set_size": float(is_in_NK.sum(axis=1).mean()),
        "unfamiliar": float(is_unfamiliar_N.mean()),
    }
