"""Metrics as means over images, so that one set of formulas gives the error of each of them.

Accuracy and log loss are means over images as they stand. Balanced accuracy, macro F1 and AUROC are written as the mean
of one *contribution* per image, their first-order expansion (the infinitesimal jackknife: Efron 1982, "The Jackknife,
the Bootstrap and Other Resampling Plans", chapter 6; for AUROC these are the components of DeLong, DeLong and
Clarke-Pearson 1988). A bootstrap over images converges to the same variance, at some hundred times the cost.

Shapes: T trials, N test images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Outcomes:
    """What the trials of one strategy said about the test images.

    Attributes:
        strategy: its name.
        trials: numbers of the trials, ascending.
        paths: paths of the test images, sorted.
        truth_N: index of the true class.
        p_TNK: probabilities; NaN where a trial did not test an image (trials on different splits).
    """

    strategy: str
    trials: tuple[int, ...]
    paths: tuple[str, ...]
    truth_N: Ints
    p_TNK: Floats

    @classmethod
    def of(cls, predictions: pd.DataFrame) -> Outcomes:
        """Read the table `predictions` of one strategy, whose rows may come in any order."""
        columns = [name for name in predictions.columns if name.startswith("p_")]
        trial_R, trials = pd.factorize(predictions["trial"], sort=True)
        path_R, paths = pd.factorize(predictions["path"], sort=True)
        p_TNK = np.full((len(trials), len(paths), len(columns)), np.nan)
        p_TNK[trial_R, path_R] = predictions[columns].to_numpy(dtype=float)
        truth_N = np.zeros(len(paths), dtype=np.int64)
        truth_N[path_R] = pd.Index(columns).get_indexer(pd.Index("p_" + predictions["truth"].astype(str)))
        return cls(str(predictions["strategy"].iloc[0]), tuple(trials), tuple(paths), truth_N, p_TNK)

    def where(self, on_N: NDArray[np.bool_]) -> Outcomes:
        """Return what was said about a part of the images, by the trials that tested any of them."""
        paths = tuple(path for path, is_on in zip(self.paths, on_N, strict=True) if is_on)
        p_TNK = self.p_TNK[:, on_N]
        kept = [row for row, p_NK in enumerate(p_TNK) if not np.isnan(p_NK).all()]
        return Outcomes(self.strategy, tuple(self.trials[row] for row in kept), paths, self.truth_N[on_N], p_TNK[kept])

    def contributions(self, metric: str) -> Floats:
        """Return the contributions (T, N) to a metric of `METRICS`; NaN where a trial did not test an image."""
        values_TN = np.full(self.p_TNK.shape[:2], np.nan)
        for values_N, p_NK in zip(values_TN, self.p_TNK, strict=True):
            tested_N = ~np.isnan(p_NK).any(axis=1)
            values_N[tested_N] = METRICS[metric](p_NK[tested_N], self.truth_N[tested_N])
        return values_TN


def accuracy(p_NK: Floats, truth_N: Ints) -> Floats:
    """Return 1 for an image whose most probable class is the true one, else 0."""
    hits: Floats = (p_NK.argmax(axis=1) == truth_N).astype(float)
    return hits


def log_loss(p_NK: Floats, truth_N: Ints) -> Floats:
    """Return minus the logarithm of the true class's probability, in nats."""
    p_N = p_NK[np.arange(len(truth_N)), truth_N] / p_NK.sum(axis=1)
    nats: Floats = -np.log(np.clip(p_N, np.finfo(float).eps, 1.0))
    return nats


def balanced_accuracy(p_NK: Floats, truth_N: Ints) -> Floats:
    """Return contributions to the mean recall over the classes that have images."""
    hits_N, count_K = accuracy(p_NK, truth_N), np.bincount(truth_N, minlength=p_NK.shape[1])
    recall_K = np.bincount(truth_N, weights=hits_N, minlength=p_NK.shape[1]) / np.maximum(count_K, 1)
    present_K = count_K > 0
    weight_N = len(truth_N) / (present_K.sum() * count_K[truth_N])
    values: Floats = recall_K[present_K].mean() + weight_N * (hits_N - recall_K[truth_N])
    return values


def macro_f1(p_NK: Floats, truth_N: Ints) -> Floats:
    """Return contributions to the mean F1 over all classes; a class that nobody has or predicts counts as 0."""
    classes_K = np.arange(p_NK.shape[1])
    said_NK, true_NK = p_NK.argmax(axis=1)[:, None] == classes_K, truth_N[:, None] == classes_K
    both_NK, either_NK = 2.0 * (said_NK & true_NK), said_NK + true_NK.astype(float)
    share_K = either_NK.mean(axis=0)
    f1_K = both_NK.mean(axis=0) / np.where(share_K > 0, share_K, 1.0)
    values: Floats = f1_K.mean() + ((both_NK - f1_K * either_NK) / np.where(share_K > 0, share_K, 1.0)).mean(axis=1)
    return values


def auroc(p_NK: Floats, truth_N: Ints) -> Floats:
    """Return contributions to the AUROC of the second of two classes, else to the mean of one class against the rest.

    NaN where a class has no image.
    """
    if len(np.unique(truth_N)) < p_NK.shape[1]:
        return np.full(len(truth_N), np.nan)
    if p_NK.shape[1] == 2:
        return _one_against_rest(p_NK[:, 1], truth_N == 1)
    p_NK = p_NK / p_NK.sum(axis=1, keepdims=True)
    values: Floats = np.mean([_one_against_rest(p_NK[:, k], truth_N == k) for k in range(p_NK.shape[1])], axis=0)
    return values


def _one_against_rest(score_N: Floats, is_class_N: NDArray[np.bool_]) -> Floats:
    """Return the components of DeLong et al. (1988), scaled so that their mean over all images is the AUROC."""
    share_N = np.empty_like(score_N)  # of the other side that an image is ranked right against, ties counted half
    for own_N in (is_class_N, ~is_class_N):
        others = np.sort(score_N[~own_N])
        below = sum(np.searchsorted(others, score_N[own_N], side) for side in ("left", "right")) / 2
        share_N[own_N] = below / len(others)
    share_N[~is_class_N] = 1 - share_N[~is_class_N]
    area = share_N[is_class_N].mean()
    size_N = np.where(is_class_N, is_class_N.sum(), (~is_class_N).sum())
    values: Floats = area + len(score_N) / size_N * (share_N - area)
    return values


METRICS: dict[str, Callable[[Floats, Ints], Floats]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "auroc": auroc,
    "log_loss": log_loss,
}
