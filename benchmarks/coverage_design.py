"""Coverage where images come in groups, and where trials have splits of their own; a part of `coverage`.

**Groups.** The population of `coverage` with images of which those of a group share most of what makes them hard. The
interval over groups stands beside the one that takes each image for separate evidence.

**Re-splits.** Two strategies really learn: the nearest class mean (a linear rule) of normal features, of all or of
half of them, with noise as seeds give it. Every trial is trained and tested on its own random split of the same
images. The truth is the mean accuracy of training on other images from the population, by integration over test images
and 4,000 training sets. The corrected interval (Nadeau and Bengio 2003) stands beside Student's over the trials. Where
the data bring test images (`given_test`), only the training images are re-split.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from benchmarks.coverage import covers, means
from benchmarks.populations import Population
from transferlab.core.data.split.config import SplitConfig
from transferlab.core.data.split.plan import SplitPlan
from transferlab.core.evaluation import intervals
from transferlab.core.evaluation.contributions import METRICS, Outcomes
from transferlab.core.evaluation.design import Design
from transferlab.core.evaluation.pairing import Values
from transferlab.core.evaluation.standings import paired_spread
from transferlab.core.evaluation.variance import Spread

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
GROUPED = Population((0.90, 0.89), trial=0.1, both=0.4)
SHARED = 0.7  # of the variance of an image's hardness is its group's
SIZES = (5, 20)  # images of a group
FEATURES, APART, SEEDS = 20, 0.45, 0.15  # features, distance of the class means in each, noise of a trial's rule


def grouped(trials: int, images: int, experiments: int) -> Iterator[dict[str, Any]]:
    """Yield the coverage of intervals over groups, and over images as if they were separate."""
    for size in SIZES:
        rng, truth, found = np.random.default_rng(0), GROUPED.truth(), defaultdict(list)
        group_N = np.arange(images) // size
        paths = [str(number) for number in range(images)]
        over_groups, over_images = Design(groups=pd.Series(group_N, index=paths)), Design()
        for _ in range(experiments):
            p_STNK, truth_N = GROUPED.draw(rng, trials, images, group_N, SHARED)
            for metric in ("accuracy", "balanced_accuracy"):
                left_TN, right_TN = (np.array([METRICS[metric](p_NK, truth_N) for p_NK in p_TNK]) for p_TNK in p_STNK)
                level, apart = truth[metric][0], truth[metric][0] - truth[metric][1]
                for name, design in (("", over_groups), (", as if separate", over_images)):
                    values_TU = design.units(range(trials), paths, left_TN)
                    found[f"{metric}: level{name}"].append(
                        covers(intervals.of_metric(values_TU, images, metric), level)
                    )
                    apart_TU = design.units(range(trials), paths, left_TN - right_TN)
                    spread = Spread.of(apart_TU, intervals.pseudo(metric, apart_TU.shape[1], images))
                    found[f"{metric}: difference{name}"].append(covers(_around(spread, 0.0), apart))
        yield {"groups of": size, "trials": trials, "images": images, "figures": means(found)}


def re_split(config: SplitConfig, images: int, experiments: int, given_test: float = 0.0) -> dict[str, Any]:
    """Return the coverage of corrected and of naive intervals over re-splits or folds.

    Args:
        config: re-splits or folds.
        images: of all splits together.
        experiments: how many.
        given_test: share of the images that the data bring as test images, which stay.
    """
    rng, found = np.random.default_rng(0), defaultdict(list)
    label_N = np.arange(images) % 2
    table = pd.DataFrame(
        {"path": [str(number) for number in range(images)], "class": label_N.astype(str), "split": "", "stratify": "",
         "group": ""}
    )  # fmt: skip
    if given_test:
        table["split"] = np.where(np.arange(images) < given_test * images, "test", "train")
    splits = SplitPlan(table, config).table().drop(columns="path")
    index = table.drop(columns="split").join(splits)
    design = Design.of_index(index, "accuracy", None, is_folds=bool(config.folds))
    test_TN, train_TN = ((splits == name).to_numpy().T for name in ("test", "train"))
    truth_of = _truth(int(train_TN.sum(axis=1).mean()), np.random.default_rng(1))
    for _ in range(experiments):
        x_NF = _features(rng, label_N)  # one plan, other images each time
        p_STNK = np.full((2, len(test_TN), images, 2), np.nan)
        for trial, (test_N, train_N) in enumerate(zip(test_TN, train_TN, strict=True)):
            for strategy in (0, 1):
                rule_F, at = _learned(rng, x_NF[train_N], label_N[train_N], strategy)
                p_N = expit(x_NF[test_N] @ rule_F - at)
                p_STNK[strategy, trial, test_N] = np.stack([1 - p_N, p_N], axis=1)
        trials = tuple(range(len(test_TN)))
        said = [Outcomes(str(s), trials, tuple(table["path"]), label_N, p_TNK) for s, p_TNK in enumerate(p_STNK)]
        for metric, truth_S in truth_of.items():
            left, right = (Values.of(each, metric).of_trials(trials) for each in said)
            units_TU = design.units(trials, left.paths, left.values_TN)
            level = intervals.of_metric(units_TU, len(left.paths), metric, design.test_to_train)
            found[f"{metric}: level"].append(covers(level, truth_S[0]))
            spread = paired_spread(left, right, metric, design)
            around = _around(spread, design.test_to_train)
            found[f"{metric}: difference"].append(covers(around, truth_S[0] - truth_S[1]))
            if metric == "accuracy":
                mean_ST = [np.nanmean(each.values_TN, axis=1) for each in (left, right)]
                found["accuracy: level, uncorrected"].append(covers(intervals.over_trials(mean_ST[0]), truth_S[0]))
                naive = intervals.over_trials(mean_ST[0] - mean_ST[1])
                found["accuracy: difference, uncorrected"].append(covers(naive, truth_S[0] - truth_S[1]))
                found["accuracy: half-width of the level"].append((level[1] - level[0]) / 2)
    asked: dict[str, Any] = {"folds": config.folds, "repeats": config.repeats} if config.folds else {
        "resplits": config.resplits
    }  # fmt: skip
    asked |= {"given_test": given_test} if given_test else {}
    truths = {metric: list(truth_S) for metric, truth_S in truth_of.items()}
    return {**asked, "trials": len(test_TN), "images": images, "truth": truths, "figures": means(found)}


def cases(experiments: int) -> Iterator[dict[str, Any]]:
    """Simulate groups, re-splits and folds."""
    for trials, images in ((3, 200), (5, 600)):
        yield from grouped(trials, images, experiments)
    for images in (150, 600):
        for config in (
            SplitConfig(resplits=3),
            SplitConfig(resplits=10),
            SplitConfig(folds=5),
            SplitConfig(folds=5, repeats=2),
        ):
            yield re_split(config, images, experiments)
        yield re_split(SplitConfig(resplits=5, validation=0.2), images, experiments, given_test=0.3)


def _features(rng: np.random.Generator, label_N: NDArray[np.int64]) -> Floats:
    """Draw features (N, F) of unit variance, whose class means are apart."""
    side_N1 = (2 * label_N - 1)[:, None]
    drawn: Floats = rng.standard_normal((len(label_N), FEATURES)) + side_N1 * APART / 2
    return drawn


def _learned(rng: np.random.Generator, x_NF: Floats, label_N: NDArray[np.int64], strategy: int) -> tuple[Floats, float]:
    """Return the rule (F,) and the threshold that a strategy learns from training images."""
    mean_KF = np.stack([x_NF[label_N == label].mean(axis=0) for label in (0, 1)])
    rule_F = mean_KF[1] - mean_KF[0]
    if strategy == 1:
        rule_F = np.where(np.arange(FEATURES) < FEATURES // 2, rule_F, 0.0)
    rule_F = rule_F + SEEDS * rng.standard_normal(FEATURES) * (rule_F != 0)
    return rule_F, float(rule_F @ mean_KF.mean(axis=0))


def _truth(train: int, rng: np.random.Generator, draws: int = 4_000) -> dict[str, Floats]:
    """Return each strategy's mean accuracy and AUROC on all images of the population, over training sets this large."""
    label_N = np.arange(train) % 2
    right_SD, area_SD = np.zeros((2, draws)), np.zeros((2, draws))
    for draw in range(draws):
        x_NF = _features(rng, label_N)
        for strategy in (0, 1):
            rule_F, at = _learned(rng, x_NF, label_N, strategy)
            center, sd = rule_F.sum() * APART / 2, np.linalg.norm(rule_F)
            right_SD[strategy, draw] = (stats.norm.cdf((center - at) / sd) + stats.norm.cdf((center + at) / sd)) / 2
            area_SD[strategy, draw] = stats.norm.cdf(math.sqrt(2) * center / sd)
    right_S: Floats = right_SD.mean(axis=1)
    return {"accuracy": right_S, "balanced_accuracy": right_S, "auroc": area_SD.mean(axis=1)}


def _around(spread: Spread, test_to_train: float) -> tuple[float, float]:
    half = intervals.half_width(spread, test_to_train=test_to_train)
    return spread.mean - half, spread.mean + half
