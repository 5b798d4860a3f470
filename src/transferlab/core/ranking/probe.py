"""Scores frozen features: how well could a linear classifier on them do?

Shapes: N images, F features of rank R, K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from transferlab.core.errors import MendableError

FOLDS = 5
PENALTIES = np.logspace(-1, 5, 7)
ROUNDS, TINY = 50, 1e-5  # of the evidence; the latter keeps precisions finite, as the authors' code does

Floats = NDArray[np.floating]


class ProbeError(MendableError):
    """Too few images to probe with."""


def probe_accuracy(features_NF: Floats, labels_N: NDArray[np.int64], groups_N: NDArray[np.object_] | None) -> float:
    """Return the accuracy of a linear classifier on images that it was not fitted to.

    It is ridge regression, whose penalty is chosen inside each of the folds by leaving out one image at a time.

    Args:
        features_NF: of the images.
        labels_N: class numbers.
        groups_N: names of groups that stay together; None where there are none.

    Raises:
        ProbeError: a class has only one image, or group.
    """
    units = labels_N if groups_N is None else np.array([label for label, _ in {*zip(labels_N, groups_N, strict=True)}])
    folds = min(FOLDS, int(np.unique(units, return_counts=True)[1].min()))
    if folds < 2:
        what = "image" if groups_N is None else "group of images"
        raise ProbeError(f"a class has one {what} alone in the training split: a probe needs two of each class")
    kind = StratifiedKFold if groups_N is None else StratifiedGroupKFold
    classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES))
    cut = kind(folds, shuffle=True, random_state=0)
    predicted_N = cross_val_predict(classifier, features_NF, labels_N, groups=groups_N, cv=cut)
    return float((predicted_N == labels_N).mean())


def log_evidence(features_NF: Floats, labels_N: NDArray[np.int64]) -> float:
    """Return LogME (You et al. 2021, ICML, arXiv 2102.11005): the mean log evidence per image and class.

    It is the marginal likelihood of a Bayesian linear regression on the classes as 0 and 1, at the precisions of
    weights and noise that make it greatest, by MacKay's fixed-point iteration. One decomposition serves all classes,
    where scikit-learn's `BayesianRidge` would make one for each.
    """
    y_NK = (labels_N[:, None] == np.unique(labels_N)).astype(np.float64)
    u_NR, singular_R, _ = np.linalg.svd(features_NF.astype(np.float64), full_matrices=False)
    square_R1, explained_RK = singular_R[:, None] ** 2, (u_NR.T @ y_NK) ** 2
    unexplained_K = (y_NK**2).sum(axis=0) - explained_RK.sum(axis=0)
    count, alpha_K, beta_K = len(y_NK), np.ones(y_NK.shape[1]), np.ones(y_NK.shape[1])
    for _ in range(ROUNDS):
        shrunk_RK = 1 / (square_R1 * beta_K + alpha_K)
        weights_K = (square_R1 * explained_RK * (beta_K * shrunk_RK) ** 2).sum(axis=0)  # their squared length
        errors_K = unexplained_K + (explained_RK * (alpha_K * shrunk_RK) ** 2).sum(axis=0)
        evidence_K = (
            np.log(alpha_K * shrunk_RK).sum(axis=0) + count * np.log(beta_K / (2 * np.pi))
            - beta_K * errors_K - alpha_K * weights_K
        ) / (2 * count)  # fmt: skip
        effective_K = (square_R1 * beta_K * shrunk_RK).sum(axis=0)
        alpha_K = effective_K / (weights_K + TINY)
        beta_K = (count - effective_K) / (errors_K + TINY)
    return float(evidence_K.mean())
