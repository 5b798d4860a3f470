import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.core import metrics
from transferlab.core.evaluation import predictions as predictions_module
from transferlab.core.evaluation.contributions import METRICS, Outcomes


def said(rng, images, classes):
    """Probabilities with ties, and truths that they know something of."""
    truth_N = rng.integers(0, classes, images)
    logits_NK = np.round(rng.normal(size=(images, classes)), 1)
    logits_NK[np.arange(images), truth_N] += 1
    p_NK = np.exp(logits_NK)
    return p_NK / p_NK.sum(axis=1, keepdims=True), truth_N


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(5, 60))
def test_the_mean_of_the_contributions_is_the_metric(seed, classes, images):
    p_NK, truth_N = said(np.random.default_rng(seed), images, classes)
    scores = metrics.scores(p_NK, truth_N)
    for metric, contributions in METRICS.items():
        assert contributions(p_NK, truth_N).mean() == pytest.approx(scores[metric], nan_ok=True), metric


@pytest.mark.parametrize("metric", METRICS)
def test_their_variance_is_the_bootstraps(metric):
    rng = np.random.default_rng(0)
    p_NK, truth_N = said(rng, 300, 3)
    formula = METRICS[metric](p_NK, truth_N).std(ddof=1) / np.sqrt(300)
    drawn = (rng.integers(0, 300, 300) for _ in range(300))
    bootstrap = np.std([METRICS[metric](p_NK[rows], truth_N[rows]).mean() for rows in drawn])
    assert formula == pytest.approx(bootstrap, rel=0.15)


def test_a_table_is_read_whatever_the_order_of_its_rows():
    p_NK, truth_N = said(np.random.default_rng(1), 6, 3)
    paths = [f"{i}.jpg" for i in (3, 1, 5, 0, 2, 4)]
    trials = [predictions_module.table(p_NK**n, "s", n, paths, truth_N, ["a", "1", "nan"]) for n in (7, 2)]
    outcomes = Outcomes.of(pd.concat(trials).sample(frac=1, random_state=0))
    order = np.argsort(paths)
    assert (outcomes.strategy, outcomes.trials, outcomes.paths) == ("s", (2, 7), tuple(sorted(paths)))
    assert (outcomes.truth_N == truth_N[order]).all()
    assert np.allclose(outcomes.p_TNK, [(p_NK**2)[order], (p_NK**7)[order]])


def test_an_image_that_a_trial_did_not_test_has_no_contribution():
    p_NK, truth_N = said(np.random.default_rng(1), 6, 2)
    paths = [f"{i}.jpg" for i in range(6)]
    table = pd.concat(predictions_module.table(p_NK, "s", n, paths, truth_N, ["a", "b"]) for n in (0, 1))
    kept = table[~((table["trial"] == 1) & (table["path"] == "2.jpg"))]
    values_TN = Outcomes.of(kept).contributions("accuracy")
    assert np.isnan(values_TN).nonzero() == (np.array([1]), np.array([2]))


def test_a_part_of_the_images_is_measured_alone():
    p_NK, truth_N = said(np.random.default_rng(1), 6, 2)
    whole = Outcomes("s", (0,), tuple("abcdef"), truth_N, p_NK[None])
    on_N = np.array([True, False, True, True, False, False])
    assert whole.where(on_N).paths == ("a", "c", "d")
    assert (whole.where(on_N).contributions("log_loss") == whole.contributions("log_loss")[:, on_N]).all()
