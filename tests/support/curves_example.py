"""Tables of learning curves, from simulated losses of two strategies that cross and one that has too few sizes."""

import numpy as np
import pandas as pd

from transferlab.core.evaluation.learning_curve import CurveTables, Measured, curve_tables

SIZES = np.array([119.0, 237.0, 473.0, 945.0, 1890.0])
TEST_IMAGES = 600


def measured(name: str, a: float, c: float, sizes=SIZES, draws: int = 3, seed: int = 0) -> Measured:
    """Hits of trainings whose error is `a n^-0.5 + c`."""
    rng, hardness_N = np.random.default_rng(seed), np.random.default_rng(7).random(TEST_IMAGES)
    error_KD = a * sizes[:, None] ** -0.5 + c + rng.normal(0, 0.1, (len(sizes), draws)) / np.sqrt(sizes)[:, None]
    wrong_KDN = hardness_N < error_KD[..., None] + rng.normal(0, 0.03, (*error_KD.shape, TEST_IMAGES))
    return Measured(name, "accuracy", sizes, 1.0 - wrong_KDN, TEST_IMAGES)


def tables() -> CurveTables:
    return curve_tables(
        [
            measured("feature_extraction", 0.9, 0.12),
            measured("fine_tuning", 3.5, 0.05, seed=1),
            measured("scratch", 3.0, 0.2, sizes=SIZES[2:], seed=2),
        ]
    )


def refused() -> CurveTables:
    return curve_tables([measured("scratch", 3.0, 0.2, sizes=SIZES[2:])])


def flat(gain: float, low: float, high: float) -> pd.Series:
    """A fit whose doubling brings so much."""
    return pd.Series(
        {"strategy": "fine_tuning", "metric": "accuracy", "images": 1890.0, "refused": "", "gain": gain,
         "gain_low": low, "gain_high": high, "now": 0.85, "doubled": 0.85 + gain, "level": 0.9}
    )  # fmt: skip
