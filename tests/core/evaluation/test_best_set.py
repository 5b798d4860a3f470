import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from transferlab.core.evaluation.best_set import behind_the_best, one_sided
from transferlab.core.evaluation.optimism import optimism


def compared(means, half):
    means = np.array(means)
    return behind_the_best(means[:, None] - means, np.full((len(means),) * 2, half))


def test_what_is_close_may_be_best_and_each_is_behind_by_a_bound():
    may_be_best, behind = compared([0.90, 0.89, 0.80], 0.02)
    assert may_be_best.tolist() == [True, True, False]
    assert behind == pytest.approx([0.01, 0.03, 0.12])


def test_a_clear_best_is_behind_nothing():
    may_be_best, behind = compared([0.9, 0.8], 0.02)
    assert may_be_best.tolist() == [True, False]
    assert behind == pytest.approx([0.0, 0.12])


def test_equal_strategies_are_both_kept_even_when_nothing_varies():
    assert compared([0.9, 0.9], 0.0)[0].all()


def test_what_cannot_be_compared_may_be_best_and_far_behind():
    may_be_best, behind = compared([0.9, 0.1], np.inf)
    assert may_be_best.all()
    assert np.isinf(behind).all()


@given(hnp.arrays(float, 5, elements=st.floats(0, 1)), st.floats(0, 0.5))
def test_the_leader_may_always_be_best_and_wider_intervals_exclude_less(means, half):
    may_be_best, behind = compared(means, half)
    assert may_be_best[np.argmax(means)]
    wider, further = compared(means, half + 0.1)
    assert (wider >= may_be_best).all()
    assert (further >= behind - 1e-12).all()


def test_more_strategies_need_surer_comparisons():
    assert one_sided(2) == pytest.approx(0.95)
    assert one_sided(4) == pytest.approx(1 - 0.05 / 3)


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(1, 5), st.floats(0, 0.5))
def test_having_been_chosen_never_makes_a_strategy_better(seed, strategies, trials, apart):
    rng = np.random.default_rng(seed)
    values_STU = rng.random((strategies, trials, 20)) < 0.5 + apart * rng.random((strategies, 1, 1))
    assert optimism(values_STU.astype(float), seed=seed, samples=50) >= -1e-12


def test_the_leader_of_equals_is_corrected_and_a_clear_one_hardly():
    rng = np.random.default_rng(0)
    lucky, fair = [], []
    for _ in range(60):
        noise_STU = rng.normal(0, 0.3, (5, 1, 100)) + rng.normal(0, 0.1, (5, 4, 100))
        luck = optimism(noise_STU, samples=100)
        lucky.append(noise_STU.mean(axis=(1, 2)).max())
        fair.append(lucky[-1] - luck)
        clear = optimism(noise_STU + np.arange(5)[:, None, None], samples=100)
        assert abs(clear) < 0.01
    assert np.mean(lucky) > 0.025
    assert abs(np.mean(fair)) < 0.4 * np.mean(lucky)
    assert optimism(noise_STU[:1]) == 0
    assert optimism(noise_STU, seed=3) == optimism(noise_STU, seed=3)
