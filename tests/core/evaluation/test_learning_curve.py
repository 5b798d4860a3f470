"""The tables of learning curves, from predictions whose quality by size is known."""

import math

import numpy as np
import pandas as pd
import pytest

from transferlab.core.evaluation.contributions import Outcomes
from transferlab.core.evaluation.design import Design
from transferlab.core.evaluation.learning_curve import BAND, FITS, Measured, curve_tables

IMAGES, DRAWS = 800, 3


def subsets_of(sizes) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"trial": k * DRAWS + draw, "draw": draw, "asked": size, "path": [str(n) for n in range(size)]})
        for k, size in enumerate(sizes)
        for draw in range(DRAWS)
    ]
    return pd.concat(parts, ignore_index=True)


def outcomes_of(name: str, sizes, error, seed: int = 0) -> Outcomes:
    """Two classes; at each size `error(size)` of the images are wrong, the same ones first."""
    rng = np.random.default_rng(seed)
    truth_N = np.arange(IMAGES) % 2
    hardness_N = np.random.default_rng(9).random(IMAGES)
    p_TNK = np.empty((len(sizes) * DRAWS, IMAGES, 2))
    for trial in range(len(p_TNK)):
        wrong_N = hardness_N < error(sizes[trial // DRAWS]) + rng.normal(0, 0.004) + rng.normal(0, 0.03, IMAGES)
        p_TNK[trial, np.arange(IMAGES), truth_N] = np.where(wrong_N, 0.2, 0.8)
    p_TNK[:, np.arange(IMAGES), 1 - truth_N] = 1 - p_TNK[:, np.arange(IMAGES), truth_N]
    paths = tuple(f"{n:04d}" for n in range(IMAGES))
    return Outcomes(name, tuple(range(len(p_TNK))), paths, truth_N, p_TNK)


SIZES = [100, 200, 400, 800, 1600]


def frozen(n):
    return 0.12 + 0.5 / n**0.5


def tuned(n):
    return 0.04 + 4.0 / n**0.5


def measured(name, error, sizes=SIZES, metric="accuracy", **outcomes):
    return Measured.of(outcomes_of(name, sizes, error, **outcomes), subsets_of(sizes), Design(metric))


def test_points_fits_and_band_agree_with_what_was_made():
    tables = curve_tables([measured("frozen", frozen), measured("tuned", tuned, seed=1)])
    points = tables.points.set_index(["strategy", "images"])
    assert len(points) == 10
    assert points.loc[("frozen", 100.0), "mean"] == pytest.approx(1 - frozen(100), abs=0.03)
    assert (points["low_images"] < points["mean"]).all()
    fits = tables.fits.set_index("strategy")
    assert list(tables.fits.columns) == list(FITS)
    assert fits.loc["tuned", "gain"] == pytest.approx(tuned(1600) - tuned(3200), abs=0.012)
    assert fits.loc["tuned", "gain_low"] > 0
    assert fits.loc["frozen", "gain"] < fits.loc["tuned", "gain"]
    band = tables.band[tables.band["strategy"] == "tuned"]
    assert list(band.columns) == list(BAND)
    assert (band["low"] <= band["value"]).all()
    assert (band["value"] <= band["high"]).all()
    assert band["images"].iloc[-1] == pytest.approx(3200)
    now = band.iloc[(band["images"] - 1600).abs().argmin()]
    assert now["value"] == pytest.approx(fits.loc["tuned", "now"], abs=0.003)


def test_the_crossing_of_two_curves_is_found_with_an_interval():
    (crossing,) = curve_tables([measured("frozen", frozen), measured("tuned", tuned, seed=1)]).crossings.to_dict(
        "records"
    )
    assert (crossing["few"], crossing["many"]) == ("frozen", "tuned")
    assert 1000 < crossing["images"] < 4000, "truly at 1,914"
    assert crossing["low"] <= crossing["images"] <= crossing["high"]
    same = curve_tables([measured("a", frozen), measured("b", lambda n: frozen(n) + 0.1)])
    assert same.crossings.empty


def test_a_metric_of_which_less_is_better_falls():
    fit = curve_tables([measured("tuned", tuned, metric="log_loss")]).fits.iloc[0]
    assert fit["gain"] < 0
    assert fit["gain_low"] <= fit["gain"] <= fit["gain_high"]


def test_few_sizes_or_draws_are_refused_with_the_reason():
    few = measured("tuned", tuned, sizes=[400, 800, 1600])
    assert "only 3 sizes" in few.refusal
    tables = curve_tables([few])
    assert tables.band.empty
    assert "only 3 sizes" in tables.fits["refused"].iloc[0]
    assert math.isnan(tables.fits["gain"].iloc[0])
    assert len(tables.points) == 3
    whole = outcomes_of("tuned", SIZES, tuned)
    kept = np.arange(len(whole.trials)) != 4  # a training of draw 1 diverged
    broken = Outcomes("tuned", tuple(np.array(whole.trials)[kept]), whole.paths, whole.truth_N, whole.p_TNK[kept])
    left = Measured.of(broken, subsets_of(SIZES), Design())
    assert left.values_KDU.shape[1] == 2
    assert "only 2 draws of training images are complete (1 of 15 trainings diverged); it takes 3" in left.refusal
    assert (left.diverged, left.trainings) == (1, 15)


def test_a_size_at_which_every_training_diverged_costs_no_draw():
    sizes, whole = [50, *SIZES], outcomes_of("tuned", [50, *SIZES], tuned)
    subsets = subsets_of(sizes)
    smallest = subsets.loc[subsets["asked"] == 50, "trial"].unique()
    kept = ~np.isin(whole.trials, smallest)
    rest = Outcomes("tuned", tuple(np.array(whole.trials)[kept]), whole.paths, whole.truth_N, whole.p_TNK[kept])
    left = Measured.of(rest, subsets, Design())
    assert left.refusal == ""
    assert list(left.images_K) == SIZES
    assert (left.diverged, left.trainings) == (3, 18)
    fit = curve_tables([left]).fits.iloc[0]
    assert (fit["diverged"], fit["trainings"]) == (3, 18)


def test_groups_are_the_units():
    groups = pd.Series([str(n // 4) for n in range(IMAGES)], index=[f"{n:04d}" for n in range(IMAGES)])
    grouped = Measured.of(outcomes_of("tuned", SIZES, tuned), subsets_of(SIZES), Design(groups=groups))
    assert grouped.values_KDU.shape == (5, 3, IMAGES // 4)
    assert grouped.points()[0]["mean"] == pytest.approx(measured("tuned", tuned).points()[0]["mean"])
