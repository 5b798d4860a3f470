import math

import numpy as np
import pytest

from transferlab.core.evaluation.intervals import half_width
from transferlab.core.evaluation.variance import Budget, Spread, split_training_sample


def crossed(rng, trial, image, both, trials, units):
    return (
        trial * rng.normal(size=(trials, 1)) + image * rng.normal(size=units) + both * rng.normal(size=(trials, units))
    )


def test_components_are_told_apart():
    rng = np.random.default_rng(0)
    found = [Budget.of(Spread.of(crossed(rng, 0.05, 0.3, 0.2, 8, 400))) for _ in range(200)]
    for name, sd in (("trial", 0.05), ("image", 0.3), ("both", 0.2)):
        assert np.mean([getattr(budget, name) for budget in found]) == pytest.approx(sd**2, rel=0.1), name


def test_the_predicted_half_width_is_the_one_that_more_images_and_trials_have():
    rng = np.random.default_rng(1)
    predicted = [Budget.of(Spread.of(crossed(rng, 0.01, 0.3, 0.1, 5, 150))).half_width(10, 600) for _ in range(100)]
    realised = [half_width(Spread.of(crossed(rng, 0.01, 0.3, 0.1, 10, 600))) for _ in range(50)]
    assert np.mean(predicted) == pytest.approx(np.mean(realised), rel=0.1)


def test_what_is_needed_is_the_smallest_number_that_does():
    budget = Budget(trial=0.0001, image=0.04, both=0.01, trials=10, units=150)
    for target, power in ((0.02, None), (0.02, 0.8)):
        images = budget.units_needed(target, power)
        assert budget.half_width(10, images, power) <= target < budget.half_width(10, images - 1, power)
    assert budget.trials_needed(0.01) == math.inf, "the images alone leave more"
    seeds = Budget(trial=0.001, image=0.0001, both=0.0, trials=3, units=600)
    assert seeds.units_needed(0.02) == math.inf, "the seeds alone leave more"
    trials = seeds.trials_needed(0.02)
    assert seeds.half_width(trials, 600) <= 0.02 < seeds.half_width(trials - 1, 600)


def test_power_needs_more_than_an_interval_does():
    budget = Budget(trial=0.0, image=0.04, both=0.0, trials=10, units=150)
    # Known: (1.96 + 0.84)**2 / 1.96**2 times as many.
    assert budget.units_needed(0.01, 0.8) / budget.units_needed(0.01) == pytest.approx(2.04, abs=0.02)


def test_seeds_and_training_sample_are_told_apart_where_splits_have_several_seeds():
    rng = np.random.default_rng(2)
    split_T = np.repeat(np.arange(6), [2, 2, 3, 3, 4, 4])
    found = [
        split_training_sample(rng.normal(0, 0.03, 6)[split_T] + rng.normal(0, 0.01, 18), split_T) for _ in range(500)
    ]
    seeds, sample = np.mean(found, axis=0)
    assert (seeds, sample) == (pytest.approx(0.01**2, rel=0.1), pytest.approx(0.03**2, rel=0.15))
    assert all(math.isnan(each) for each in split_training_sample(rng.normal(size=4), np.arange(4)))
