"""Measure a cluster of two simulated nodes against one, and against this machine: `python -m benchmarks.cluster_speed`.

Trials of two strategies, three each, one thread, tiny and real, are trained four times:

- by plain processes, one alone and then two at the same time: what the second core of this machine adds at most;
- by one node and by two nodes of a Ray cluster, in one queue;
- by two nodes, strategy by strategy, where each strategy's third trial leaves one node idle.

All that is timed has trained before, so that starting processes, which happens once in a run, is told apart. Needs two
idle cores for about three minutes. Writes `benchmarks/results/cluster_speed.json`, or another file (`--to`).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.cluster_kills import OF_RAY, SMALL, machine
from benchmarks.kills import spec_in
from transferlab.core.launch.trials import queued, train_trials
from transferlab.core.runtime.progress import Progress
from transferlab.core.training.spec import TrialResult, TrialSpec
from transferlab.core.training.trial import train_trial

RESULT = Path(__file__).parent / "results" / "cluster_speed.json"
TRIALS = 3


def quietly(at: Progress) -> None:
    """Tell nobody."""


def specs_in(folder: Path, epochs: int) -> list[list[TrialSpec]]:
    """Describe the trials of two strategies."""
    spec = spec_in(folder)
    stage = replace(spec.strategy.stages["tune"], epochs=epochs)
    spec = replace(spec, strategy=replace(spec.strategy, stages={"tune": stage}))
    return [[replace(spec, name=name, trial=trial) for trial in range(TRIALS)] for name in ("one", "other")]


def alone(folder: Path, specs: Sequence[TrialSpec], barrier: Any, seconds: Any) -> None:
    """Train one after the other, after a first one, at the same time as other processes do."""
    warm(folder, specs[0], lambda spec, where: train_trial(spec, where, quietly))
    barrier.wait()
    started = time.perf_counter()
    for spec in specs:
        train_trial(spec, folder / "features", quietly)
    seconds.put(time.perf_counter() - started)


def warm(folder: Path, spec: TrialSpec, train: Callable[[TrialSpec, Path], Any]) -> None:
    """Train an epoch, so that everything is imported."""
    stage = replace(spec.strategy.stages["tune"], epochs=1)
    train(replace(spec, strategy=replace(spec.strategy, stages={"tune": stage})), folder / "warm")


def by_processes(folder: Path, strategies: Sequence[Sequence[TrialSpec]]) -> float:
    """Train each strategy by a process of its own, at the same time; the seconds of the slowest."""
    context = multiprocessing.get_context("spawn")
    barrier, seconds = context.Barrier(len(strategies)), context.SimpleQueue()
    started = [
        context.Process(target=alone, args=(folder / specs[0].name, specs, barrier, seconds)) for specs in strategies
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    return max(seconds.get() for _ in started)


def by_cluster(folder: Path, strategies: Sequence[Sequence[TrialSpec]], nodes: int) -> dict[str, float]:
    """Train by so many nodes: the seconds in one queue, those strategy by strategy, and those of the trials."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **SMALL})
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1, **SMALL)
        compute = replace(strategies[0][0].compute, launcher="ray", address=cluster.address)
        sent = [[replace(spec, compute=compute) for spec in specs] for specs in strategies]
        started = time.perf_counter()
        some = [replace(sent[0][0], trial=trial) for trial in range(4 * nodes)]  # enough for all nodes
        warm(
            folder,
            some[0],
            lambda first, where: train_trials([replace(first, trial=s.trial) for s in some], where, quietly),
        )
        begun = time.perf_counter()
        launch = queued(sent, folder / "queue", [folder / "one", folder / "other"], lambda name: quietly)
        found = [train_trials(specs, folder / "queue", quietly, folder / specs[0].name, launch) for specs in sent]
        in_queue = time.perf_counter()
        for specs in sent:
            train_trials(specs, folder / "turns", quietly)
        by_turns = time.perf_counter() - in_queue
        return {
            "start": begun - started,
            "one queue": in_queue - begun,
            "strategy by strategy": by_turns,
            "trials": sum(map(_spent, found)),
        }
    finally:
        ray.shutdown()
        cluster.shutdown()


def _spent(results: Mapping[int, TrialResult]) -> float:
    return sum(result.cost.seconds for result in results.values())


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--epochs", type=int, default=600, help="of each trial")
    parser.add_argument("--to", type=Path, default=RESULT, help="the file to write")
    wanted = parser.parse_args()
    os.environ.update(OF_RAY)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        strategies = specs_in(folder / "images", wanted.epochs)
        processes = [by_processes(folder / f"processes_{count}", strategies[:count]) for count in (1, 2)]
        nodes = [by_cluster(folder / f"nodes_{count}", strategies, count) for count in (1, 2)]
    limit = processes[0] / processes[1]
    efficiency = nodes[0]["one queue"] / (2 * nodes[1]["one queue"])
    trials = TRIALS * len(strategies)
    report = {
        "seconds of 3 trials by a process": {"one alone": processes[0], "each of two": processes[1]},
        "seconds of 6 trials by one node": nodes[0],
        "seconds of 6 trials by two nodes": nodes[1],
        "efficiency of two nodes": efficiency,
        "of the machine's own limit": efficiency / limit,
        "seconds of overhead for a trial on one node": (nodes[0]["one queue"] - nodes[0]["trials"]) / trials,
        "machine": machine(),
    }
    wanted.to.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
