"""The parts of a standard error add up, and each is found where it was put."""

import math

import numpy as np
import pytest

from transferlab.core.evaluation.design import FIXED_TEST, RE_SPLITS, Design
from transferlab.core.evaluation.uncertainty import standard_errors
from transferlab.core.evaluation.variance import Spread


def parts_of(design, trials, seed_sd, split_sd, image_sd, repeats=300, images=400):
    """Mean squares of the parts over many drawn experiments."""
    rng, squares = np.random.default_rng(0), []
    for _ in range(repeats):
        split = rng.normal(0, split_sd, design.splits)[np.arange(trials) % design.splits]
        value_T = split + rng.normal(0, seed_sd, trials)
        value_TN = value_T[:, None] + rng.normal(0, image_sd, images)
        spread = Spread.of(design.over_splits(range(trials), value_TN))
        found = standard_errors(range(trials), value_T, spread, design)
        squares.append([found["seeds_se"] ** 2, found["sample_se"] ** 2, found["images_se"] ** 2])
    return np.mean(squares, axis=0)


def test_one_split_has_seeds_and_images_and_does_not_vary_the_training_sample():
    seeds, sample, images = parts_of(Design(), 5, seed_sd=0.02, split_sd=0, image_sd=0.4)
    assert seeds == pytest.approx(0.02**2 / 5, rel=0.2)
    assert math.isnan(sample)
    assert images == pytest.approx(0.4**2 / 400, rel=0.1)


def test_several_seeds_on_each_split_tell_seeds_from_the_training_sample():
    design = Design(splits=5, splitting=FIXED_TEST)
    seeds, sample, images = parts_of(design, 15, seed_sd=0.02, split_sd=0.03, image_sd=0.4)
    assert seeds == pytest.approx(0.02**2 / 15, rel=0.25)
    assert sample == pytest.approx(0.03**2 / 5, rel=0.3)
    assert images == pytest.approx(0.4**2 / 400, rel=0.1)


def test_with_one_seed_each_split_counts_both_and_own_test_images_too():
    design = Design(splits=5, splitting=RE_SPLITS, test_to_train=1 / 3)
    value_T = np.array([0.1, 0.12, 0.08, 0.11, 0.09])
    spread = Spread.of(value_T[:, None] + np.zeros((5, 10)))
    found = standard_errors(range(5), value_T, spread, design)
    assert math.isnan(found["seeds_se"])
    assert math.isnan(found["images_se"])
    assert found["sample_se"] ** 2 == pytest.approx(value_T.var(ddof=1) * (1 / 5 + 1 / 3))
    twice = standard_errors(range(10), np.concatenate([value_T + 0.001, value_T - 0.001]), spread, design)
    assert 0 < twice["seeds_se"] < twice["sample_se"]
    assert twice["seeds_se"] ** 2 + twice["sample_se"] ** 2 == pytest.approx(found["sample_se"] ** 2)
