"""Do the intervals cover what they claim? `python -m benchmarks.coverage`.

Small experiments are drawn from populations whose truth is known by integration: two classes, a margin for every trial
and image that is the sum of what the strategy can do, how hard the image is (for all strategies, and for this one), how
good the trial is, and what this trial does to this image, all normal. The report's own functions then state intervals,
the set of strategies that may be best, the leader's corrected accuracy and a recommendation, and are held against the
truth.

Writes `coverage.json`: for each population, number of trials and of test images, the share of intervals (95%) that
cover the truth, old ones beside new ones; a share of 0.95 from 500 experiments has a standard error of 0.01. Under
`designs` are images in groups, and trials with splits of their own (see `coverage_design`), under `more` what else the
report says (see `coverage_more`).
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.populations import POPULATIONS, Population
from transferlab.core.evaluation import intervals
from transferlab.core.evaluation.best_set import behind_the_best, one_sided
from transferlab.core.evaluation.contributions import METRICS
from transferlab.core.evaluation.optimism import optimism
from transferlab.core.evaluation.variance import Spread

Floats = NDArray[np.float64]
RESULTS = Path(__file__).parent / "results" / "coverage.json"
MARGIN = 0.02


def judge(population: Population, truth: Mapping[str, Floats], p_STNK: Floats, truth_N: Any) -> dict[str, float]:
    """Hold what would be reported of one small experiment against the truth."""
    trials, images = p_STNK.shape[1:3]
    found: dict[str, float] = {}
    for metric, contributions in METRICS.items():
        values_TN, other_TN = (np.array([contributions(p_NK, truth_N) for p_NK in p_STNK[s]]) for s in (0, 1))
        found[f"{metric}: level"] = covers(intervals.of_metric(values_TN, images, metric), truth[metric][0])
        spread = Spread.of(values_TN - other_TN, intervals.PSEUDO[metric])
        half = intervals.half_width(spread)
        expected = truth[metric][0] - truth[metric][1]
        found[f"{metric}: difference"] = covers((spread.mean - half, spread.mean + half), expected)
        if metric == "accuracy":
            found["accuracy: level, over trials alone"] = covers(intervals.over_trials(values_TN.mean(axis=1)), 0.9)
            old = _satterthwaite(spread)
            found["accuracy: difference, Satterthwaite"] = covers((spread.mean - old, spread.mean + old), expected)
            found["accuracy: half-width of the level"] = np.diff(intervals.of_metric(values_TN, images))[0] / 2
            found["accuracy: half-width of the difference"] = half
    hits_STN = (p_STNK.argmax(axis=-1) == truth_N).astype(float)
    return found | (judge_choice(truth["accuracy"], hits_STN, intervals.DISAGREEING) if trials > 2 else {})


def judge_choice(truth_S: Floats, values_STN: Floats, pseudo: float) -> dict[str, float]:
    """Hold the strategies that may be best, the leader and the recommendation against the truth; higher is better."""
    size = len(values_STN)
    mean_S, half_SS = values_STN.mean(axis=(1, 2)), np.zeros((size, size))
    for i, j in combinations(range(size), 2):
        spread = Spread.of(values_STN[i] - values_STN[j], pseudo)
        half_SS[i, j] = half_SS[j, i] = intervals.half_width(spread, one_sided(size))
    gap_SS = mean_S[:, None] - mean_S
    may_be_best_S, behind_S = behind_the_best(gap_SS, half_SS)
    short_S, leader = truth_S.max() - truth_S, int(mean_S.argmax())
    luck = optimism(values_STN, samples=100)
    excess = float(mean_S[leader] - truth_S[leader])
    good = np.flatnonzero(behind_S <= MARGIN)
    found = {
        "best set: holds the best": float(may_be_best_S[short_S == 0].any()),
        "best set: size": float(may_be_best_S.sum()),
        "behind the best at most: all true": float((behind_S >= short_S - 1e-9).all()),
        "leader: points too high": 100 * excess,
        "leader: points too high, corrected": 100 * (excess - luck),
        "margin: something recommended": float(len(good) > 0),
    }
    # The last strategy counts as the cheapest: the hardest case, since it is the worst.
    return found | (
        {"margin: recommended is within it": float(short_S[good[-1]] <= MARGIN + 1e-9)} if len(good) else {}
    )


def covers(ends: tuple[float, float], truth: float) -> float:
    """Return 1 if an interval holds the truth, else 0."""
    return float(ends[0] <= truth <= ends[1])


def _satterthwaite(spread: Spread) -> float:
    """Return the half-width with one number of degrees of freedom for the sum of both variances, as it was before."""
    total = spread.over_trials + spread.over_units
    parts = spread.over_trials**2 / (spread.trials - 1) + spread.over_units**2 / (spread.units - 1)
    return float(stats.t.ppf(intervals.TWO_SIDED, total**2 / parts) * math.sqrt(total))


def simulate(population: Population, trials: int, images: int, experiments: int, seed: int = 0) -> dict[str, float]:
    """Return the mean of every figure over `experiments` small experiments."""
    rng, truth, found = np.random.default_rng(seed), population.truth(), defaultdict(list)
    for _ in range(experiments):
        for name, value in judge(population, truth, *population.draw(rng, trials, images)).items():
            found[name].append(value)
    return means(found)


def means(found: Mapping[str, list[float]]) -> dict[str, float]:
    """Return the mean of every figure."""
    return {name: round(float(np.mean(values)), 4) for name, values in found.items()}


def cases(wanted: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Simulate every population at every size."""
    for name, population in POPULATIONS.items():
        for trials in wanted.trials:
            for images in wanted.images:
                figures = simulate(population, trials, images, wanted.experiments)
                yield {"population": name, "trials": trials, "images": images, "figures": figures}


def main() -> None:
    """Simulate, and write `coverage.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=500)
    parser.add_argument("--trials", type=int, nargs="+", default=[2, 3, 5, 10])
    parser.add_argument("--images", type=int, nargs="+", default=[150, 600])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only", choices=["cases", "designs", "more"], help="simulate this part, keep the rest")
    wanted = parser.parse_args()
    from benchmarks import coverage_design, coverage_more  # they need this module's functions

    written = json.loads(wanted.out.read_text()) if wanted.only else {}
    written |= {
        "command": "python -m benchmarks.coverage",
        "experiments": wanted.experiments,
        "margin": MARGIN,
        "populations": {name: asdict(population) for name, population in POPULATIONS.items()},
    }
    parts = {
        "cases": lambda: cases(wanted),
        "designs": lambda: coverage_design.cases(wanted.experiments),
        "more": lambda: coverage_more.cases(wanted.experiments),
    }
    for name in [wanted.only] if wanted.only else parts:
        written[name] = []
        for case in parts[name]():
            print(case, flush=True)
            written[name].append(case)
    wanted.out.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
