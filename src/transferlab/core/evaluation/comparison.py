"""Honest statistics over trials: means with intervals, and paired differences between strategies.

Trial t of every strategy has the same seed, hence the same order of images and, where they augment alike, the same
views; all strategies are tested on the same images. Differences are therefore paired, by trial and by image.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

# Means over images, so that a paired difference per image exists.
PAIRED_METRICS = ("accuracy", "log_loss")
LEVEL = 0.95


def interval(values_T: Floats, other_variance: float = 0.0, other_df: int = 0) -> tuple[float, float]:
    """The t interval (95%) of a mean over T trials; NaN for one trial.

    Args:
        values_T: one value per trial.
        other_variance: that of another source of error of the mean; it is added to the variance of the trials' mean,
            and the degrees of freedom of the sum are Satterthwaite's (1946). What both sources share (the interaction
            of trials and images) is counted twice, which makes the interval a little too wide, never too narrow.
        other_df: degrees of freedom with which `other_variance` was estimated.
    """
    if len(values_T) < 2:
        return float("nan"), float("nan")
    variance, df = values_T.var(ddof=1) / len(values_T), len(values_T) - 1
    total = variance + other_variance
    if other_variance > 0:
        df = total**2 / (variance**2 / df + other_variance**2 / other_df)
    half = float(stats.t.ppf((1 + LEVEL) / 2, df=df) * np.sqrt(total))
    return float(values_T.mean()) - half, float(values_T.mean()) + half


def compare(metrics: pd.DataFrame, test_images: int) -> pd.DataFrame:
    """The table `comparison`: mean, interval and standard deviation over trials of every metric of every strategy."""
    rows = []
    for (strategy, metric), group in metrics.groupby(["strategy", "metric"], sort=False):
        values_T = group["value"].to_numpy(dtype=float)
        low, high = interval(values_T)
        rows.append(
            {
                "strategy": strategy,
                "metric": metric,
                "mean": values_T.mean(),
                "low": low,
                "high": high,
                "sd": values_T.std(ddof=1) if len(values_T) > 1 else float("nan"),
                "trials": len(values_T),
                "test_images": test_images,
                "selection": group["selection"].iloc[0],
            }
        )
    return pd.DataFrame(rows)


def differences(predictions: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The table `differences`: each strategy against each other, for the metrics that are means over images.

    `low, high` is the paired interval over trials: would other seeds give this, on these test images? `low_images,
    high_images` adds the variance over test images of the trials' mean difference: would it hold on new photographs?
    """
    rows = []
    for one, other in combinations(predictions, 2):
        for metric in PAIRED_METRICS:
            difference_TN = _paired(one, other, metric)
            trials, images = difference_TN.shape
            over_images = float(difference_TN.mean(axis=0).var(ddof=1) / images) if images > 1 else float("nan")
            low, high = interval(difference_TN.mean(axis=1))
            low_images, high_images = interval(difference_TN.mean(axis=1), over_images, images - 1)
            rows.append(
                {
                    "strategy": one["strategy"].iloc[0],
                    "versus": other["strategy"].iloc[0],
                    "metric": metric,
                    "difference": float(difference_TN.mean()),
                    "low": low,
                    "high": high,
                    "low_images": low_images,
                    "high_images": high_images,
                    "trials": trials,
                    "test_images": images,
                }
            )
    return pd.DataFrame(
        rows,
        columns=[
            "strategy",
            "versus",
            "metric",
            "difference",
            "low",
            "high",
            "low_images",
            "high_images",
            "trials",
            "test_images",
        ],
    )


def _paired(one: pd.DataFrame, other: pd.DataFrame, metric: str) -> Floats:
    """Differences (T, N) of the per-image values, over the trials that both have.

    Raises:
        ValueError: the strategies were tested on different images.
    """
    left, right = _per_image(one, metric), _per_image(other, metric)
    if not left.columns.equals(right.columns):
        names = f"{one['strategy'].iloc[0]} and {other['strategy'].iloc[0]}"
        raise ValueError(f"{names} were evaluated on different test images: run both again (--from-nodes=split_images)")
    trials = left.index.intersection(right.index)
    difference: Floats = left.loc[trials].to_numpy() - right.loc[trials].to_numpy()
    return difference


def _per_image(predictions: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One value per trial (row) and image (column, sorted by path)."""
    if metric == "accuracy":
        value = (predictions["truth"] == predictions["prediction"]).astype(float)
    else:
        columns = predictions.columns.get_indexer(pd.Index("p_" + predictions["truth"].astype(str)))
        p_N = predictions.to_numpy()[np.arange(len(predictions)), columns].astype(float)
        value = pd.Series(-np.log(np.clip(p_N, np.finfo(float).eps, 1.0)), index=predictions.index)
    return predictions.assign(value=value).pivot(index="trial", columns="path", values="value").sort_index(axis=1)  # noqa: PD010
