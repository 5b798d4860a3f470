import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from transferlab.core.evaluation import intervals
from transferlab.core.evaluation.exact import sign_flip
from transferlab.core.evaluation.variance import Spread, per_unit

RNG = np.random.default_rng(0)


def hits(seed, trials, images, right=0.8):
    rng = np.random.default_rng(seed)
    skill_T1, hardness_N = rng.normal(0, 0.3, (trials, 1)), rng.normal(size=images)
    return (stats.norm.ppf(right) * 1.5 + skill_T1 + hardness_N + rng.normal(size=(trials, images)) > 0).astype(float)


@pytest.mark.parametrize("trials", [2, 3, 10])
def test_over_trials_alone_it_is_students(trials):
    values_T = RNG.normal(0.8, 0.05, trials)
    expected = stats.t.interval(0.95, trials - 1, loc=values_T.mean(), scale=stats.sem(values_T))
    assert intervals.over_trials(values_T) == pytest.approx(expected)


def test_over_one_trial_there_is_none():
    assert all(math.isnan(end) for end in intervals.over_trials(np.array([0.9])))
    assert math.isnan(intervals.half_width(Spread.of(hits(0, 1, 50))))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 80), st.floats(0.05, 0.99))
def test_a_difference_is_never_surer_than_either_source_alone(seed, trials, images, right):
    values_TN = hits(seed, trials, images, right) - hits(seed + 1, trials, images)
    half = intervals.half_width(Spread.of(values_TN)) + 1e-12
    low, high = intervals.over_trials(values_TN.mean(axis=1))
    assert half >= (high - low) / 2
    if images > 1:
        low, high = intervals.over_trials(values_TN.mean(axis=0))
        assert half >= (high - low) / 2


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(2, 80), st.floats(0.05, 0.999))
def test_accuracy_is_never_surer_than_the_binomial_interval(seed, trials, images, right):
    values_TN = hits(seed, trials, images, right)
    low, high = intervals.of_metric(values_TN, images)
    if trials == 1:
        binomial = stats.binomtest(int(values_TN.sum()), images).proportion_ci(0.95, method="wilson")
        assert low <= binomial.low + 1e-9
        assert high >= binomial.high - 1e-9
    else:
        alone = intervals.over_trials(values_TN.mean(axis=1))
        assert low <= alone[0] + 1e-12
        assert high >= alone[1] - 1e-12
    assert low <= values_TN.mean() <= high


@pytest.mark.parametrize("mean", [0.0, 0.5, 1.0])
def test_trials_that_all_agree_leave_the_images_uncertain(mean):
    values_TN = np.tile((np.arange(12) < 12 * mean).astype(float), (3, 1))
    low, high = intervals.of_metric(values_TN, 12)
    assert high - low > 0.2
    assert 0 - 1e-9 <= low <= mean <= high <= 1 + 1e-9


def test_a_head_that_says_one_class_then_the_other_is_not_known_to_the_point():
    # Half right in both trials, and every image right once: neither source alone varies.
    values_TN = np.array([[1.0, 0.0] * 30, [0.0, 1.0] * 30]) - 1
    assert values_TN.mean(axis=1).std() == values_TN.mean(axis=0).std() == 0
    assert intervals.half_width(Spread.of(values_TN)) > 0.1


def test_strategies_that_agree_on_every_image_are_not_taken_for_equal():
    half = intervals.half_width(Spread.of(np.zeros((5, 60)), intervals.DISAGREEING))
    assert 1.5 / 60 < half < 4 / 60  # the rule of three


@pytest.mark.parametrize("against", range(4))
def test_few_disagreements_are_judged_as_the_exact_test_does(against):
    # From how many images on that only one strategy gets right, beside `against` that only the other does?
    for favor in range(against, 25):
        values_N = np.zeros(400)
        values_N[:favor], values_N[favor : favor + against] = 1, -1
        spread = Spread.of(np.tile(values_N, (30, 1)), intervals.DISAGREEING)
        if spread.mean > intervals.half_width(spread):
            break
    assert sign_flip(np.maximum(values_N, 0)[None], np.maximum(-values_N, 0)[None]) < 0.06


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 20), st.integers(0, 20))
def test_the_exact_test_of_one_trial_is_mcnemars(favor, against):
    one_N, other_N = np.repeat([1.0, 0.0, 1.0], [favor, against, 5]), np.repeat([0.0, 1.0, 1.0], [favor, against, 5])
    expected = stats.binomtest(favor, favor + against).pvalue if favor + against else 1.0
    assert sign_flip(one_N[None], other_N[None]) == pytest.approx(expected)


def test_the_exact_test_counts_all_flips():
    one_TN, other_TN = hits(1, 3, 12, 0.9), hits(2, 3, 12, 0.5)
    favor_N = (one_TN - other_TN).sum(axis=0)
    signs = np.array(np.meshgrid(*[[-1, 1]] * 12)).reshape(12, -1)
    expected = (np.abs(favor_N @ signs) >= abs(favor_N.sum())).mean()
    assert sign_flip(one_TN, other_TN) == pytest.approx(expected)


def test_random_splits_are_corrected_as_nadeau_and_bengio_do():
    values_TN = np.repeat(RNG.normal(0.8, 0.05, (5, 1)), 40, axis=1)
    variance = (1 / 5 + 0.25) * values_TN[:, 0].var(ddof=1)
    half = intervals.half_width(Spread.of(values_TN), test_to_train=0.25)
    assert half == pytest.approx(stats.t.ppf(0.975, 4) * math.sqrt(variance))


@given(st.integers(2, 9), st.integers(1, 4), st.sampled_from([0.0, 1.0]), st.randoms(use_true_random=False))
def test_all_right_or_all_wrong_up_to_rounding_has_an_interval(units, trials, value, draws):
    rounding = [[draws.randint(-2, 2) * np.finfo(float).eps for _ in range(units)] for _ in range(trials)]
    low, high = intervals.of_metric(value + np.array(rounding), 5 * units)
    assert low <= value + 1e-9
    assert high >= value - 1e-9
    assert high - low > 0.1, "of few groups"


def test_copies_of_images_add_nothing():
    values_TN = np.tile(hits(3, 1, 50), (4, 1))
    copied_TN, group_N = np.repeat(values_TN, 3, axis=1), np.repeat(np.arange(50), 3)
    assert np.allclose(per_unit(copied_TN, group_N), values_TN)
    narrow, wide = intervals.of_metric(copied_TN, 150), intervals.of_metric(per_unit(copied_TN, group_N), 150)
    assert wide[1] - wide[0] > 1.2 * (narrow[1] - narrow[0])


def test_a_group_counts_by_its_size_and_what_was_not_tested_not_at_all():
    values_TN = np.array([[1.0, 1.0, 0.0, 1.0], [0.0, 1.0, np.nan, 1.0]])
    values_TU = per_unit(values_TN, np.array(["a", "a", "a", "b"]))
    assert values_TU.mean(axis=1) == pytest.approx([3 / 4, 2 / 3])
