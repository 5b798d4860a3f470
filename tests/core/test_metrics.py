import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from transferlab.core import metrics

RNG = np.random.default_rng(0)


def predictions(n=60, classes=3):
    logits_NK = RNG.normal(size=(n, classes))
    truth_N = RNG.integers(0, classes, n)
    logits_NK[np.arange(n), truth_N] += 1
    p_NK = np.exp(logits_NK)
    return p_NK / p_NK.sum(axis=1, keepdims=True), truth_N


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_scores_are_scikit_learns(classes):
    p_NK, truth_N = predictions(200, classes)
    found, guess_N = metrics.scores(p_NK, truth_N), p_NK.argmax(axis=1)
    assert found["accuracy"] == sk.accuracy_score(truth_N, guess_N)
    assert found["macro_f1"] == pytest.approx(sk.f1_score(truth_N, guess_N, average="macro"))
    assert found["log_loss"] == pytest.approx(-np.log(p_NK[np.arange(200), truth_N]).mean())
    each = [sk.roc_auc_score(truth_N == k, p_NK[:, k]) for k in range(classes)]
    assert found["auroc"] == pytest.approx(each[1] if classes == 2 else np.mean(each))


def test_four_images_by_hand():
    p_NK = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.55, 0.45]])
    truth_N = np.array([0, 1, 1, 0])
    found = metrics.scores(p_NK, truth_N)
    assert found["accuracy"] == 0.75
    assert found["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.7, 0.55]).mean())
    assert found["auroc"] == pytest.approx(3 / 4)  # of the four pairs, (0.4, 0.45) is the wrong way round


def test_calibration_error_by_hand():
    # Five bins. 0.85 and 0.95 share one: 1 hit of 2, mean confidence 0.9, gap 0.4. 0.65: a hit, gap 0.35.
    p_NK = np.array([[0.85, 0.15], [0.05, 0.95], [0.65, 0.35]])
    assert metrics.calibration_error(p_NK, np.array([0, 0, 0]), bins=5) == pytest.approx((2 * 0.4 + 0.35) / 3)
    # Fifteen bins (not ten, where they share one): a hit at 0.71 and a miss at 0.79 are apart.
    p_NK = np.array([[0.71, 0.29], [0.79, 0.21]])
    assert metrics.scores(p_NK, np.array([0, 1]))["ece"] == pytest.approx((0.29 + 0.79) / 2)


def test_confidence_one_is_in_the_last_bin():
    p_NK = np.array([[1.0, 0.0], [0.97, 0.03]])
    assert metrics.calibration_error(p_NK, np.array([0, 1])) == pytest.approx(abs(1 - 1.97) / 2)


@given(hnp.arrays(float, (7, 3), elements=st.floats(0.01, 1)), hnp.arrays(np.int64, 7, elements=st.integers(0, 2)))
def test_metrics_stay_in_their_ranges(weights, truth_N):
    found = metrics.scores(weights / weights.sum(axis=1, keepdims=True), truth_N)
    for name in ("accuracy", "macro_f1", "ece"):
        assert 0 <= found[name] <= 1
    assert found["log_loss"] >= 0
    assert np.isnan(found["auroc"]) == (len(set(truth_N.tolist())) < 3)


def test_a_certain_mistake_is_expensive_and_finite():
    found = metrics.scores(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 0]))
    assert 10 < found["log_loss"] < 100
    assert np.isnan(found["auroc"])  # one class only


def test_a_class_nobody_predicts_or_has_counts_as_zero():
    p_NK, truth_N = np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1]]), np.array([0, 1])
    assert metrics.scores(p_NK, truth_N)["macro_f1"] == pytest.approx(2 / 3 / 3)
    table = metrics.per_class(p_NK, truth_N, ["a", "b", "c"]).set_index("class")
    assert table.loc["a"].to_dict() == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1}
    assert table.loc["c"].to_dict() == {"precision": 0, "recall": 0, "f1": 0, "support": 0}


def test_confusion_counts_every_pair_that_occurs():
    p_NK, truth_N = predictions(classes=4)
    p_NK[:, 3] = 0  # nobody says so
    counts = metrics.confusion(p_NK, truth_N, list("abcd")).set_index(["truth", "prediction"])["count"]
    assert counts.sum() == 60
    assert counts.min() > 0
    for (t, p), expected in np.ndenumerate(sk.confusion_matrix(truth_N, p_NK.argmax(1), labels=range(4))):
        assert counts.get(("abcd"[t], "abcd"[p]), 0) == expected
