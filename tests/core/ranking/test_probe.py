import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.datasets import make_classification

from transferlab.core.ranking.probe import ProbeError, log_evidence, probe_accuracy


def problem(separation=2.0, n=200, features=12, classes=3, seed=0):
    return make_classification(
        n,
        features,
        n_informative=6,
        n_redundant=0,
        n_classes=classes,
        class_sep=separation,
        random_state=seed,
        n_clusters_per_class=1,
    )


def test_features_that_tell_more_score_higher_by_both():
    scores = []
    for separation in (0.1, 1.0, 3.0):
        features_NF, labels_N = problem(separation)
        scores.append((probe_accuracy(features_NF, labels_N, None), log_evidence(features_NF, labels_N)))
    assert scores == sorted(scores)
    assert [evidence for _, evidence in scores] == sorted(evidence for _, evidence in scores)
    assert scores[-1][0] > 0.9


def test_the_evidence_is_the_best_marginal_likelihood():
    features_NF, labels_N = problem(n=60, features=7, classes=2)

    def likelihood(logs, target_N):
        noise, weight = np.exp(logs)
        covariance_NN = noise * np.eye(len(target_N)) + weight * features_NF @ features_NF.T
        return multivariate_normal(cov=covariance_NN).logpdf(target_N) / len(target_N)

    best = []
    for label in (0, 1):
        target_N = (labels_N == label).astype(float)
        best.append(-minimize(lambda logs, y=target_N: -likelihood(logs, y), [-1.0, -2.0], method="Nelder-Mead").fun)
    assert log_evidence(features_NF, labels_N) == pytest.approx(np.mean(best), abs=2e-3)


def test_labels_of_no_meaning_score_at_chance():
    rng = np.random.default_rng(0)
    assert 0.4 < probe_accuracy(rng.normal(size=(300, 40)), rng.integers(0, 2, 300), None) < 0.6


def test_groups_stay_together():
    rng = np.random.default_rng(0)
    groups_N = np.repeat(np.arange(40), 8)
    labels_N = np.repeat(rng.permutation(np.arange(40) % 2), 8)
    features_NF = np.repeat(rng.normal(size=(40, 60)), 8, axis=0) + 0.01 * rng.normal(size=(320, 60))
    assert probe_accuracy(features_NF, labels_N, None) > 0.95
    assert probe_accuracy(features_NF, labels_N, groups_N.astype(object)) < 0.75


@pytest.mark.parametrize("groups", [None, np.array(["a", "a", "b", "c", "d"], dtype=object)])
def test_one_image_or_group_of_a_class_is_too_few(groups):
    labels_N = np.array([0, 0, 1, 1, 1]) if groups is not None else np.array([0, 1, 1, 1, 1])
    with pytest.raises(ProbeError, match="two of each class"):
        probe_accuracy(np.eye(5), labels_N, groups)
