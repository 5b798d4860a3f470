"""What the report says beside the intervals of `coverage`: a part of it.

**Narrower questions.** The interval over trials alone asks what other seeds would give *on these images*, and that of
one trial what *this network* would give on others. Each is held against that truth.

**Unstable seeds.** Where intervals of levels begin to be too narrow as seeds differ more.

**The choice by other metrics.** The strategies that may be best, and the leader's correction, as in `coverage`.

**Numbers needed.** A second experiment with as many images or trials as the first one asked for: its half-width over
the target, and how often it detects a difference of the target, which 80% of them should.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.coverage import covers, judge_choice, means
from benchmarks.populations import POPULATIONS, Population
from transferlab.core.evaluation import intervals
from transferlab.core.evaluation.contributions import METRICS
from transferlab.core.evaluation.variance import POWER, Budget, Spread
from transferlab.core.metrics import LOWER_IS_BETTER

Floats = NDArray[np.float64]
FROZEN, TUNED, UNSTABLE, ERRATIC, EQUAL = POPULATIONS
SEEDS = (0.22, 0.35, 0.5, 0.65, 0.8)  # standard deviations between trials' margins: 3 to 10 points of accuracy
PLANNED = Population((0.90, 0.87), trial=0.05, both=0.4)
MOST_IMAGES, MOST_TRIALS = 20_000, 100  # that a second experiment is simulated with


class Drawn(NamedTuple):
    """A small experiment, and what its trials and its images are worth."""

    hits_STN: Floats
    on_these_S: Floats  # accuracy of other seeds on these images
    of_trial_ST: Floats  # accuracy of these networks on other images


def drawn(population: Population, rng: np.random.Generator, trials: int, images: int) -> Drawn:
    """Draw an experiment of a population."""
    center_S, of_class_N = population.centers_once(), (rng.random(images) < population.second_class).astype(int)
    fixed_SN = (
        center_S[:, None]
        + np.array(population.shift)[of_class_N]
        + population.image * rng.standard_normal(images)
        + population.own * rng.standard_normal((len(center_S), images))
    )
    effect_ST = population.trial * rng.standard_normal((len(center_S), trials))
    both_STN = population.both * rng.standard_normal((len(center_S), trials, images))
    hits_STN = (fixed_SN[:, None] + effect_ST[..., None] + both_STN > 0).astype(float)
    on_these_SN = stats.norm.cdf(fixed_SN / math.hypot(population.trial, population.both))
    return Drawn(hits_STN, on_these_SN.mean(axis=1), population.right_given(center_S[:, None] + effect_ST))


def narrower(population: Population, trials: int, images: int, experiments: int) -> dict[str, float]:
    """Return the coverage of intervals over trials alone (or images alone, of one trial) of what they ask for."""
    rng, found = np.random.default_rng(0), defaultdict(list)
    for _ in range(experiments):
        one = drawn(population, rng, trials, images)
        if trials == 1:
            found["accuracy: level, of this network"].append(
                covers(intervals.of_metric(one.hits_STN[0], images), one.of_trial_ST[0, 0])
            )
            continue
        mean_ST, truth_S = one.hits_STN.mean(axis=2), one.on_these_S
        found["accuracy: level, on these images"].append(covers(intervals.over_trials(mean_ST[0]), truth_S[0]))
        apart = intervals.over_trials(mean_ST[0] - mean_ST[1])
        found["accuracy: difference, on these images"].append(covers(apart, truth_S[0] - truth_S[1]))
    return means(found)


def unstable(trial: float, trials: int, images: int, experiments: int) -> dict[str, float]:
    """Return the coverage of an accuracy's interval, and how many points seeds differ by."""
    population = replace(POPULATIONS[UNSTABLE], trial=trial)
    rng, found, truth = np.random.default_rng(0), defaultdict(list), population.accuracy[0]
    for _ in range(experiments):
        one = drawn(population, rng, trials, images)
        found["accuracy: level"].append(covers(intervals.of_metric(one.hits_STN[0], images), truth))
        found["variance"].append(float(one.of_trial_ST[0].var(ddof=1)))
    variance = found.pop("variance")
    return means(found) | {"points that seeds differ by": round(100 * math.sqrt(np.mean(variance)), 2)}


def chosen(population: Population, metric: str, trials: int, images: int, experiments: int) -> dict[str, float]:
    """Return how good the choice between strategies by another metric is."""
    rng, found, sign = np.random.default_rng(0), defaultdict(list), -1.0 if metric in LOWER_IS_BETTER else 1.0
    truth_S = sign * population.truth()[metric]
    for _ in range(experiments):
        p_STNK, truth_N = population.draw(rng, trials, images)
        values_STN = sign * np.array([[METRICS[metric](p_NK, truth_N) for p_NK in p_TNK] for p_TNK in p_STNK])
        for name, value in judge_choice(truth_S, values_STN, intervals.PSEUDO[metric]).items():
            found[name].append(value)
    return means(found)


def planned(what: str, population: Population, target: float, experiments: int) -> dict[str, Any]:
    """Return what a second experiment finds that is as large as the first one asked for."""
    rng, found, trials, images = np.random.default_rng(0), defaultdict(list), 5, 300
    for _ in range(experiments):
        first = drawn(population, rng, trials, images).hits_STN
        budget = Budget.of(Spread.of(first[0] - first[1], intervals.DISAGREEING))
        for name, power in (("to within", None), ("to detect", POWER)):
            needed = (budget.units_needed if what == "images" else budget.trials_needed)(target, power)
            size = (trials, needed) if what == "images" else (needed, images)
            is_possible = size[0] <= MOST_TRIALS and size[1] <= MOST_IMAGES
            found[f"{name}: there is a number"].append(float(is_possible))
            if is_possible:
                second = drawn(population, rng, int(size[0]), int(size[1])).hits_STN
                spread = Spread.of(second[0] - second[1], intervals.DISAGREEING)
                half = intervals.half_width(spread)
                found[f"{name}: number"].append(needed)
                if power is None:
                    found["to within: half-width over target"].append(half / target)
                else:
                    found["to detect: detected"].append(float(spread.mean > half))
    return means(found)


def cases(experiments: int) -> Iterator[dict[str, Any]]:
    """Simulate all of it."""
    for name in (TUNED, UNSTABLE):
        for trials, images in ((1, 150), (1, 600), (3, 150), (5, 600)):
            figures = narrower(POPULATIONS[name], trials, images, experiments)
            yield {"population": name, "trials": trials, "images": images, "figures": figures}
    for trial in SEEDS:
        for trials in (3, 5, 10):
            figures = unstable(trial, trials, 300, experiments)
            yield {"seeds": trial, "trials": trials, "images": 300, "figures": figures}
    for name in (TUNED, EQUAL):
        for metric in ("balanced_accuracy", "macro_f1", "auroc", "log_loss"):
            figures = chosen(POPULATIONS[name], metric, 3, 200, experiments)
            yield {"population": name, "metric": metric, "trials": 3, "images": 200, "figures": figures}
    yield {"needed": "images", "target": 0.03, "figures": planned("images", PLANNED, 0.03, experiments)}
    shaky = replace(PLANNED, trial=0.22)
    yield {"needed": "trials", "target": 0.03, "figures": planned("trials", shaky, 0.03, experiments)}
