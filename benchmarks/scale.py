"""Simulate a cluster's schedule: `python -m benchmarks.scale --strategies 100 --trials 10`.

Trials are tasks of one worker each. Strategies differ in how long a trial takes (log-normal, as recipes do: frozen
features take seconds and training from scratch hours). Three orders are compared:

- strategy by strategy: what processes of one machine do, where a run waits for the last trial of each;
- one queue: the trials of all strategies, in the order of the configuration;
- longest first: the same, those that take longest before the others, which a cluster's queue aims at.

Nothing is measured here but the arithmetic of list scheduling: seconds are in units of the mean trial.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
from collections.abc import Sequence

WORKERS = (1, 2, 4, 8, 16, 32, 64)


def makespan(trials: Sequence[float], workers: int, overhead: float = 0.0) -> float:
    """Return when the last trial ends, if each free worker takes the next one."""
    free = [0.0] * workers
    for seconds in trials:
        heapq.heapreplace(free, free[0] + seconds + overhead)
    return max(free)


def strategies(count: int, trials: int, spread: float, seed: int) -> list[list[float]]:
    """Draw the seconds of each strategy's trials, whose mean over all is 1."""
    draws = random.Random(seed)  # noqa: S311 - a simulation
    means = [math.exp(draws.gauss(0, spread)) for _ in range(count)]
    scale = count / sum(means)
    return [[mean * scale] * trials for mean in means]


def schedules(work: Sequence[Sequence[float]], workers: int, overhead: float) -> dict[str, float]:
    """Return how long all the work takes in each order."""
    everything = [seconds for trials in work for seconds in trials]
    return {
        "strategy by strategy": sum(makespan(trials, workers, overhead) for trials in work),
        "one queue": makespan(everything, workers, overhead),
        "longest first": makespan(sorted(everything, reverse=True), workers, overhead),
    }


def main() -> None:
    """Print the efficiency of each order for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--strategies", type=int, default=100)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--spread", type=float, default=1.0, help="sigma of the logarithm of a trial's seconds")
    parser.add_argument("--overhead", type=float, default=0.01, help="of a trial, as a share of the mean trial")
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    work = strategies(wanted.strategies, wanted.trials, wanted.spread, wanted.seed)
    total = sum(map(sum, work))
    print(f"| workers | {' | '.join(schedules(work, 1, 0))} |\n|---|---|---|---|")
    for workers in WORKERS:
        found = schedules(work, workers, wanted.overhead)
        print(f"| {workers} | {' | '.join(f'{total / workers / seconds:.0%}' for seconds in found.values())} |")


if __name__ == "__main__":
    main()
