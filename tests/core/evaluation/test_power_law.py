"""Power laws are found again, and their intervals cover what further images bring."""

import numpy as np
import pytest

from transferlab.core.evaluation.power_law import ROUGHNESS, DrawNoise, Extrapolation, fit

SIZES_K = np.array([125.0, 250.0, 500.0, 1000.0, 2000.0])


def curve(images, a=0.9, b=0.5, c=0.05):
    return a * images**-b + c


def test_a_law_without_noise_is_found_again():
    law = fit(SIZES_K, curve(SIZES_K)[None], np.ones(5))
    assert law.b_B[0] == pytest.approx(0.5, abs=0.04)
    assert law.at(np.array([4000.0]))[0, 0] == pytest.approx(curve(4000.0), abs=5e-4)


def test_losses_that_rise_or_stay_give_a_flat_curve_and_none_goes_below_zero():
    rising = fit(SIZES_K, np.linspace(0.1, 0.2, 5)[None], np.ones(5))
    assert rising.a_B[0] == 0
    assert rising.at(SIZES_K) == pytest.approx(np.full((1, 5), 0.15))
    steep = fit(SIZES_K, (30 / SIZES_K)[None], np.ones(5))
    assert steep.c_B[0] >= 0
    assert (steep.at(np.array([1e6])) >= 0).all()


def test_weights_decide_whom_the_curve_follows():
    loss_K = curve(SIZES_K) + np.array([0.05, 0, 0, 0, 0])
    ignored = fit(SIZES_K, loss_K[None], np.array([1e-6, 1, 1, 1, 1]))
    assert ignored.at(SIZES_K)[0, 1:] == pytest.approx(curve(SIZES_K)[1:], abs=1e-3)


def noisy(rng, sizes_K, draws, power=ROUGHNESS, seed_sd=0.004):
    """Losses (K, D) of trainings on nested parts of a sample with luck; a power of 1 is that of linear statistics."""
    total, sample = sizes_K.max(), 1.5e-4 * sizes_K.max() ** power
    to_all_K, apart_KK = (1 / sizes_K - 1 / total) ** power, np.abs(1 / sizes_K[:, None] - 1 / sizes_K) ** power
    shared_KK = sample * (to_all_K[:, None] + to_all_K - apart_KK) / 2 + seed_sd**2 * np.eye(len(sizes_K))
    noise_DK = rng.multivariate_normal(np.zeros(len(sizes_K)), shared_KK, draws, method="eigh")
    return (curve(sizes_K) + noise_DK + rng.normal(0, np.sqrt(sample / total**power))).T


def drawn(rng, sizes_K, draws, test_images, power=ROUGHNESS):
    """Errors (K, D, N) of such trainings on test images, and those (N,) of one on twice the images."""
    loss_KD, sample = noisy(rng, sizes_K, draws, power), 1.5e-4 * sizes_K.max() ** power
    brought = (
        curve(sizes_K.max()) - curve(2 * sizes_K.max()) + rng.normal(0, np.sqrt(sample / (2 * sizes_K.max()) ** power))
    )
    hardness_N = rng.random(test_images)

    def wrong(loss):
        return (hardness_N < loss + rng.normal(0, 0.02, test_images)).astype(float)

    return np.array([[wrong(loss) for loss in row] for row in loss_KD]), wrong(loss_KD[-1, 0] - brought)


def test_the_noise_between_draws_is_split_into_seeds_and_training_samples():
    rng = np.random.default_rng(0)
    found = [DrawNoise.of(SIZES_K, drawn(rng, SIZES_K, 10, 5000)[0].mean(axis=2)) for _ in range(40)]
    assert np.mean([noise.of_all() for noise in found]) == pytest.approx(1.5e-4, rel=0.3)
    assert np.mean([noise.seed for noise in found]) < 5e-5, "seeds, and what a training does to single images"


def test_degrees_of_freedom_are_those_that_the_spread_of_estimates_shows():
    rng = np.random.default_rng(0)
    found = [DrawNoise.of(SIZES_K, noisy(rng, SIZES_K, 10)) for _ in range(400)]
    variances = np.array([noise.of_doubling() for noise in found])
    told = np.mean([noise.freedom(SIZES_K, 10) for noise in found])
    assert told == pytest.approx(2 * variances.mean() ** 2 / variances.var(), rel=0.3)
    assert told < 45, "of independent parts, five times nine"


@pytest.mark.parametrize("power", [ROUGHNESS, 1.0])
def test_intervals_cover_what_twice_the_images_give(power):
    rng = np.random.default_rng(1)
    at, covered, gains = np.array([2000.0, 4000.0]), [], []
    for number in range(60):
        wrong_KDN, doubled_N = drawn(rng, SIZES_K, 3, 600, power)
        curves = Extrapolation.of(SIZES_K, wrong_KDN, seed=number)
        sample_B2 = curves.samples.at(at)
        low_2, high_2 = np.quantile(sample_B2, [0.05, 0.95], axis=0)
        covered.append(low_2[1] <= curve(4000.0) <= high_2[1])
        low, high = np.quantile(sample_B2[:, 0] - sample_B2[:, 1] + curves.luck_B, [0.05, 0.95])
        gains.append(low <= wrong_KDN[-1].mean() - doubled_N.mean() <= high)
    assert np.mean(covered) >= 0.8, "60 experiments have a standard error of 4 points"
    assert np.mean(gains) >= 0.85
