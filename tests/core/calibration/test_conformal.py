import math

import numpy as np
import pytest

from transferlab.core.calibration.conformal import calibrate, fewest_images, realised_coverage_sd


def said(rng, images, classes=4):
    truth_N = rng.integers(0, classes, images)
    logits_NK = rng.normal(size=(images, classes))
    logits_NK[np.arange(images), truth_N] += 1.5
    p_NK = np.exp(logits_NK)
    return p_NK / p_NK.sum(axis=1, keepdims=True), truth_N


@pytest.mark.parametrize("method", ["lac", "raps"])
@pytest.mark.parametrize("level", [0.8, 0.9])
def test_sets_hold_the_truth_as_often_as_promised(method, level):
    rng = np.random.default_rng(0)
    held = []
    for _ in range(300):
        sets = calibrate(*said(rng, 99), level, method)
        p_NK, truth_N = said(rng, 300)
        held.append(sets.of(p_NK)[np.arange(300), truth_N].mean())
    if method == "lac":  # exact for scores without ties: 99 images make (99 + 1) * level whole
        assert np.mean(held) == pytest.approx(level, abs=0.01)
    assert np.mean(held) > level - 0.01
    sampling = level * (1 - level) / 300
    assert method == "raps" or np.std(held) == pytest.approx(
        math.sqrt(realised_coverage_sd(99, level) ** 2 + sampling), rel=0.15
    )


def test_surer_sets_are_larger():
    rng = np.random.default_rng(1)
    calibration, (p_NK, _) = said(rng, 500), said(rng, 200)
    for method in ("lac", "raps"):
        less, more = (calibrate(*calibration, level, method).of(p_NK) for level in (0.7, 0.95))
        assert (more >= less).all()
        assert more.sum() > less.sum()


def test_too_few_calibration_images_exclude_nothing():
    rng = np.random.default_rng(2)
    sets = calibrate(*said(rng, 8), 0.9)
    assert math.isinf(sets.threshold)
    assert sets.of(said(rng, 5)[0]).all()
    assert not calibrate(*said(rng, 9), 0.9).of(said(rng, 50)[0]).all()
    assert [fewest_images(level) for level in (0.5, 0.9, 0.95, 0.99)] == [1, 9, 19, 99]
    assert realised_coverage_sd(8, 0.9) == 0, "all sets hold everything, whatever the sample"


def test_raps_is_never_empty_and_takes_the_most_probable_classes():
    rng = np.random.default_rng(3)
    is_in_NK, p_NK = calibrate(*said(rng, 200), 0.5, "raps").of(p := said(rng, 100)[0]), p
    for is_in_K, p_K in zip(is_in_NK, p_NK, strict=True):
        assert is_in_K.any()
        assert p_K[is_in_K].min() >= p_K[~is_in_K].max(initial=0)


def test_the_spread_of_153_calibration_images_is_known():
    assert realised_coverage_sd(153, 0.95) == pytest.approx(0.0175, abs=0.001)
