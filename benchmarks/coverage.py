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
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from transferlab.core.evaluation import intervals
from transferlab.core.evaluation.best_set import behind_the_best, one_sided
from transferlab.core.evaluation.contributions import METRICS
from transferlab.core.evaluation.optimism import optimism
from transferlab.core.evaluation.variance import Spread

Floats = NDArray[np.float64]
RESULTS = Path(__file__).parent / "results" / "coverage.json"
MARGIN = 0.02
SHARPNESS = 1.5  # of the probabilities that a margin becomes
NODES_Q, WEIGHTS_Q = np.polynomial.hermite_e.hermegauss(60)


@dataclass(frozen=True)
class Population:
    """Strategies, by the accuracy each has over all seeds and images, and standard deviations of the margin's parts."""

    accuracy: tuple[float, ...]
    trial: float
    both: float
    image: float = 1.0
    own: float = 0.4
    second_class: float = 0.3
    """Share of the second class, whose margin is 0.3 lower than the first's."""

    @property
    def shift(self) -> tuple[float, float]:
        """What is added to the margin of images of each class."""
        return 0.0, -0.3

    def within(self) -> float:
        """Return the standard deviation of the margin within a trial."""
        return math.sqrt(self.image**2 + self.own**2 + self.both**2)

    def centers(self) -> Floats:
        """Return the mean margin of each strategy that gives its accuracy."""
        grid = np.linspace(-5, 8, 4001)
        right = self._mean_over_trials(self._accuracy, grid)
        return np.interp(self.accuracy, right, grid)

    def truth(self) -> dict[str, Floats]:
        """Return each metric's expectation over seeds and images, per strategy."""
        centers = self.centers()
        of = {
            "accuracy": self._accuracy,
            "balanced_accuracy": lambda m: np.mean([self._right(m, k) for k in (0, 1)], axis=0),
            "macro_f1": self._macro_f1,
            "auroc": lambda m: stats.norm.cdf((2 * m + sum(self.shift)) / (math.sqrt(2) * self.within())),
            "log_loss": self._log_loss,
        }
        return {name: self._mean_over_trials(each, centers) for name, each in of.items()}

    def draw(
        self,
        rng: np.random.Generator,
        trials: int,
        images: int,
        group_N: NDArray[np.int64] | None = None,
        shared: float = 0.0,
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Return probabilities (S, T, N, 2) and truths (N,) of a small experiment.

        With groups, images of a group share this part of the variance of their hardness.
        """

        def hardness(*leading: int) -> Floats:
            alone = rng.standard_normal((*leading, images))
            if group_N is None:
                return alone
            of_group = rng.standard_normal((*leading, group_N.max() + 1))[..., group_N]
            return math.sqrt(shared) * of_group + math.sqrt(1 - shared) * alone

        truth_N = (rng.random(images) < self.second_class).astype(np.int64)
        size = (len(self.accuracy), trials, images)
        margin_STN = (
            self.centers_once()[:, None, None]
            + np.array(self.shift)[truth_N]
            + self.image * hardness()
            + self.own * hardness(size[0], 1)
            + self.trial * rng.standard_normal((*size[:2], 1))
            + self.both * rng.standard_normal(size)
        )
        p_STN = expit(SHARPNESS * margin_STN * (2 * truth_N - 1))
        return np.stack([1 - p_STN, p_STN], axis=-1), truth_N

    def centers_once(self) -> Floats:
        """Return `centers`, computed once."""
        if self not in _CENTERS:
            _CENTERS[self] = self.centers()
        return _CENTERS[self]

    def _mean_over_trials(self, of: Any, center_S: Floats) -> Floats:
        values_SQ = of(center_S[:, None] + self.trial * NODES_Q)
        mean: Floats = values_SQ @ WEIGHTS_Q / WEIGHTS_Q.sum()
        return mean

    def right_given(self, margin: Floats) -> Floats:
        """Return the accuracy on other images of networks with these mean margins."""
        return self._accuracy(margin)

    def _right(self, margin: Floats, of_class: int) -> Floats:
        right: Floats = stats.norm.cdf((margin + self.shift[of_class]) / self.within())
        return right

    def _accuracy(self, margin: Floats) -> Floats:
        return (1 - self.second_class) * self._right(margin, 0) + self.second_class * self._right(margin, 1)

    def _macro_f1(self, margin: Floats) -> Floats:
        share, hit = (1 - self.second_class, self.second_class), [self._right(margin, k) for k in (0, 1)]
        said = [share[k] * hit[k] + share[1 - k] * (1 - hit[1 - k]) for k in (0, 1)]
        return np.mean([2 * share[k] * hit[k] / (said[k] + share[k]) for k in (0, 1)], axis=0)

    def _log_loss(self, margin: Floats) -> Floats:
        share = (1 - self.second_class, self.second_class)
        at = margin[..., None] + self.within() * NODES_Q
        nats = [np.logaddexp(0, -SHARPNESS * (at + self.shift[k])) @ WEIGHTS_Q / WEIGHTS_Q.sum() for k in (0, 1)]
        mean: Floats = share[0] * nats[0] + share[1] * nats[1]
        return mean


_CENTERS: dict[Population, Floats] = {}
POPULATIONS = {
    "frozen: seeds hardly differ": Population((0.90, 0.90, 0.89, 0.86), trial=0.03, both=0.15),
    "tuned: seeds flip hard images": Population((0.90, 0.90, 0.89, 0.86), trial=0.05, both=0.7),
    "unstable: seeds differ by 3 points": Population((0.90, 0.90, 0.89, 0.86), trial=0.22, both=0.7),
    "erratic: seeds differ by 10 points": Population((0.90, 0.90, 0.89, 0.86), trial=0.8, both=0.7),
    "equal: nothing to find": Population((0.9, 0.9, 0.9, 0.9), trial=0.05, both=0.4),
}


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
    from benchmarks import coverage_design, coverage_more  # they need this module's population

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
