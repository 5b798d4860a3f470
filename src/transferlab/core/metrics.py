"""Metrics of one trial's predictions. Shapes: N images, K classes.

scikit-learn takes more than a second to load, which a run need not wait for before it trains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# What may decide: between strategies, and between the epochs of a training.
Metric = Literal["accuracy", "balanced_accuracy", "macro_f1", "auroc", "log_loss"]
LOWER_IS_BETTER = frozenset({"log_loss"})
NAMES = {"macro_f1": "macro F1", "auroc": "AUROC"}  # those that are not spelled as their keys

# Guo et al. 2017, "On Calibration of Modern Neural Networks", use 15 bins.
CALIBRATION_BINS = 15


def scores(p_NK: Floats, truth_N: Ints) -> dict[str, float]:
    """Return accuracy, balanced accuracy, macro F1, log loss (nats), AUROC and expected calibration error.

    Balanced accuracy is the mean recall of the classes that have images. AUROC is that of the second class for two
    classes, else the mean over classes of one against the rest; NaN where a class has no image.
    """
    return {name: score(p_NK, truth_N) for name, score in SCORES.items()}


def title(metric: str) -> str:
    """Write a metric as words, such as `balanced accuracy`."""
    return NAMES.get(metric, metric.replace("_", " "))


def signed(metric: Metric, value: float) -> float:
    """Return a value of a metric with the sign that makes higher ones better."""
    return -value if metric in LOWER_IS_BETTER else value


def accuracy(p_NK: Floats, truth_N: Ints) -> float:
    """Return the share of images whose most probable class is the true one."""
    return float((p_NK.argmax(axis=1) == truth_N).mean())


def balanced_accuracy(p_NK: Floats, truth_N: Ints) -> float:
    """Return the mean recall; see `scores`."""
    from sklearn.metrics import recall_score

    return float(recall_score(truth_N, p_NK.argmax(axis=1), labels=np.unique(truth_N), average="macro"))


def macro_f1(p_NK: Floats, truth_N: Ints) -> float:
    """Return the mean F1 over all classes; a class that nobody has or predicts counts as 0."""
    from sklearn.metrics import f1_score

    labels = np.arange(p_NK.shape[1])
    return float(f1_score(truth_N, p_NK.argmax(axis=1), labels=labels, average="macro", zero_division=0.0))


def log_loss(p_NK: Floats, truth_N: Ints) -> float:
    """Return the mean cross-entropy in nats."""
    from sklearn import metrics

    return float(metrics.log_loss(truth_N, _normalised(p_NK), labels=np.arange(p_NK.shape[1])))


def auroc(p_NK: Floats, truth_N: Ints) -> float:
    """Return the area under the ROC curve; see `scores`."""
    from sklearn.metrics import roc_auc_score

    if len(np.unique(truth_N)) < p_NK.shape[1]:
        return float("nan")
    if p_NK.shape[1] == 2:
        return float(roc_auc_score(truth_N, p_NK[:, 1]))
    return float(roc_auc_score(truth_N, _normalised(p_NK), multi_class="ovr", labels=np.arange(p_NK.shape[1])))


def calibration_error(p_NK: Floats, truth_N: Ints, bins: int = CALIBRATION_BINS) -> float:
    """Return the expected calibration error of the predicted class (Guo et al. 2017), in equal-width bins."""
    confidence_N = p_NK.max(axis=1)
    hit_N = p_NK.argmax(axis=1) == truth_N
    bin_N = np.minimum((confidence_N * bins).astype(int), bins - 1)
    gap = np.bincount(bin_N, weights=hit_N - confidence_N, minlength=bins)
    return float(np.abs(gap).sum() / len(truth_N))


SCORES: dict[str, Callable[[Floats, Ints], float]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "log_loss": log_loss,
    "auroc": auroc,
    "ece": calibration_error,
}


def per_class(p_NK: Floats, truth_N: Ints, classes: Sequence[str]) -> pd.DataFrame:
    """Return precision, recall, F1 and support (images) of each class."""
    import pandas as pd
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, support = precision_recall_fscore_support(
        truth_N, p_NK.argmax(axis=1), labels=np.arange(len(classes)), zero_division=0.0
    )
    return pd.DataFrame(
        {"class": list(classes), "precision": precision, "recall": recall, "f1": f1, "support": support}
    )


def confusion(p_NK: Floats, truth_N: Ints, classes: Sequence[str]) -> pd.DataFrame:
    """Count each pair of true and predicted class that occurs, in the order of the classes."""
    import pandas as pd

    pairs_P2, counts_P = np.unique(np.stack([truth_N, p_NK.argmax(axis=1)], axis=1), axis=0, return_counts=True)
    names = pd.Series(list(classes), dtype=object)
    truth_P, prediction_P = (names.iloc[pairs_P2[:, column]].to_numpy() for column in range(2))
    return pd.DataFrame({"truth": truth_P, "prediction": prediction_P, "count": counts_P})


def _normalised(p_NK: Floats) -> Floats:
    """Make each image's probabilities sum to exactly one, which scikit-learn insists on."""
    total: Floats = p_NK / p_NK.sum(axis=1, keepdims=True)
    return total
