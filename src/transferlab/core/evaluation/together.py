"""What several trials of a strategy get together: an ensemble averages their probabilities, a soup their weights.

Lakshminarayanan, Pritzel and Blundell 2017, "Simple and Scalable Predictive Uncertainty Estimation using Deep
Ensembles" (NeurIPS).

Shapes: T trials, N test images, K classes, U units (images, or groups of them).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from transferlab.core import metrics
from transferlab.core.evaluation import intervals
from transferlab.core.evaluation.contributions import METRICS
from transferlab.core.evaluation.design import Design
from transferlab.core.evaluation.tested import Tested
from transferlab.core.evaluation.variance import Spread, t_quantile

Floats = NDArray[np.float64]
ENSEMBLE, SOUP = "ensemble", "soup"
COLUMNS = (
    "kind", "members", "metric", "value", "low", "high", "single", "difference", "difference_low", "difference_high",
    "images",
)  # fmt: skip


def can_be_averaged(trials: Sequence[Tested]) -> bool:
    """Return whether there are several trials that tested the same images: else some have trained on others' images."""
    return len(trials) > 1 and all(one.paths == trials[0].paths for one in trials)


def mean_of(trials: Sequence[Tested]) -> Floats:
    """Return the mean probabilities (N, K)."""
    p_NK: Floats = np.mean([one.p_NK for one in trials], axis=0)
    return p_NK


def measured(kind: str, members: int, p_NK: Floats, trials: Sequence[Tested], design: Design) -> pd.DataFrame:
    """Measure one predictor that was made of several trials, and its difference to a single trial.

    Intervals (95%) are over test images, or groups of them: would it hold on new photographs, of these very networks?
    The difference is paired: by image, to the mean of the single trials.

    Args:
        kind: how messages call it, such as `ensemble`.
        members: how many trials are in it.
        p_NK: its probabilities.
        trials: that it was made of, or chosen from.
        design: says which images belong together.

    Returns:
        A row per metric, with `COLUMNS`.
    """
    truth_N = trials[0].truth_N
    of_trials = pd.DataFrame([metrics.scores(one.p_NK, truth_N) for one in trials])
    rows = []
    for metric, value in metrics.scores(p_NK, truth_N).items():
        single = float(of_trials[metric].mean())
        row: dict[str, Any] = {"kind": kind, "members": members, "metric": metric, "value": value, "single": single}
        if metric in METRICS and math.isfinite(value):
            row |= _intervals(metric, p_NK, trials, design)
        rows.append({**row, "difference": value - single, "images": len(truth_N)})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _intervals(metric: str, p_NK: Floats, trials: Sequence[Tested], design: Design) -> dict[str, float]:
    first, contributions = trials[0], METRICS[metric]
    own_N = contributions(p_NK, first.truth_N)
    single_N = np.mean([contributions(one.p_NK, first.truth_N) for one in trials], axis=0)
    own_1U, ahead_1U = (design.units([0], first.paths, values_N[None]) for values_N in (own_N, own_N - single_N))
    low, high = intervals.of_metric(own_1U, len(own_N), metric)
    spread = Spread.of(ahead_1U, intervals.pseudo(metric, ahead_1U.shape[1], len(own_N)))
    half = t_quantile(intervals.TWO_SIDED, spread.units - 1) * math.sqrt(spread.over_units)
    return {"low": low, "high": high, "difference_low": spread.mean - half, "difference_high": spread.mean + half}
