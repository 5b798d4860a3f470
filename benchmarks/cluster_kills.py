"""Kill nodes, workers and drivers of a Ray cluster at random moments: `python -m benchmarks.cluster_kills --nodes 20`.

The training is that of `kills`, but longer, on a cluster of two nodes on this machine, beside the one of the launching
process. While it trains, its whole node, its worker, or the process that launched it is killed with SIGKILL; another
takes its place. When it has ended it is compared, to the bit, with one that ran alone. Writes
`benchmarks/results/cluster_kills.json`, or another file (`--to`).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import pickle
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.kills import epoch_of, fingerprint, spec_in
from transferlab.core.launch import ray_cluster
from transferlab.core.launch.trials import train_trials
from transferlab.core.runtime.progress import Progress
from transferlab.core.training.spec import TrialSpec

OF_RAY = {
    **ray_cluster.ENVIRONMENT,
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray turns 127.0.0.1 into this machine's address
    "RAY_AUTH_MODE": "disabled",
    "RAY_memory_monitor_refresh_ms": "0",  # it would kill workers where others fill this machine's memory
}
SOON = {"health_check_period_ms": 1000}  # a node that is silent is given up after five seconds, not after fifteen
RESULT = Path(__file__).parent / "results" / "cluster_kills.json"
SMALL = {
    "object_store_memory": 100 << 20,
    "node_ip_address": "127.0.0.1",
    "include_dashboard": False,
    "include_log_monitor": False,
    "no_monitor": True,
}
LONGEST_WAIT = 2.0  # seconds from a trial's first step until it is killed


def longer(spec: TrialSpec) -> TrialSpec:
    """Train for some seconds: messages to kill at take a moment."""
    stages = {name: replace(stage, epochs=25) for name, stage in spec.strategy.stages.items()}
    return replace(spec, strategy=replace(spec.strategy, stages=stages))


def train(spec: TrialSpec, folder: Path, report: Callable[[Progress], None]) -> str:
    """Train on the cluster, or go on; the fingerprint of the result."""
    return fingerprint(train_trials([spec], folder / "features", report, folder / "states")[0])


def drive(folder: Path) -> None:
    """Train what lies in a folder, as a process that will be killed; print a line for each thing it is told."""
    spec = pickle.loads((folder / "spec").read_bytes())  # noqa: S301 - ours
    found = train(spec, folder, lambda at: print(at.epoch, flush=True))
    (folder / "result").write_text(found)


class Killer:
    """Kills, and counts after which epoch that was."""

    def __init__(self, cluster: Any, seed: int) -> None:
        self._cluster, self._draws = cluster, random.Random(seed)  # noqa: S311 - moments
        self._nodes: list[Any] = []
        self.counts, self.epochs = Counter[str](), Counter[int]()

    def train(self, what: str, spec: TrialSpec, folder: Path) -> str:
        """Train, and kill what trains at a random moment; the fingerprint of the result."""
        while len(self._nodes) < 2:  # by the main thread: Ray handles signals then
            self._nodes.append(self._cluster.add_node(num_cpus=1, **SMALL))
        return self._with_drivers(spec, folder) if what == "driver" else self._once(what, spec, folder)

    def report(self) -> dict[str, Any]:
        """Return what was killed, and what came of it."""
        killed = {f"{what}s killed": self.counts[what] for what in ("node", "worker", "driver")}
        epochs = {str(epoch): self.epochs[epoch] for epoch in sorted(self.epochs)}
        trainings = {key: self.counts[key] for key in ("trainings", "with other bits")}
        return {**killed, **trainings, "kills by finished epochs in the state": epochs}

    def _once(self, what: str, spec: TrialSpec, folder: Path) -> str:
        begun = threading.Event()
        killing = threading.Thread(target=self._kill, args=(what, begun, folder))
        killing.start()
        try:
            return train(spec, folder, lambda at: begun.set())
        finally:
            begun.set()
            killing.join()

    def _kill(self, what: str, begun: threading.Event, folder: Path) -> None:
        begun.wait()
        time.sleep(self._draws.uniform(0, LONGEST_WAIT))
        for node in self._nodes:
            children = psutil.Process(node.all_processes["raylet"][0].process.pid).children()
            training = [child for child in children if child.cmdline()[:1] == ["ray::train"]]
            if not training:
                continue
            self._count(what, folder)
            if what == "worker":
                training[0].kill()
            else:
                self._nodes.remove(node)
                self._cluster.remove_node(node, allow_graceful=False)
            return

    def _with_drivers(self, spec: TrialSpec, folder: Path) -> str:
        folder.mkdir()
        (folder / "spec").write_bytes(pickle.dumps(spec))
        command = [sys.executable, "-m", "benchmarks.cluster_kills", "--drive", str(folder)]
        while not (folder / "result").is_file():
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
                assert driver.stdout
                driver.stdout.readline()
                time.sleep(self._draws.uniform(0, LONGEST_WAIT))
                driver.kill()
            if not (folder / "result").is_file():
                self._count("driver", folder)
        return (folder / "result").read_text()

    def _count(self, what: str, folder: Path) -> None:
        self.counts[what] += 1
        self.epochs[epoch_of(folder / "states" / "trial_0.pt")] += 1


def main() -> None:
    """Kill so many of each."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--workers", type=int, default=5)
    parser.add_argument("--drivers", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, default=RESULT, help="the file to write")
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    os.environ.update(OF_RAY)
    if wanted.drive:
        drive(wanted.drive)
        return
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": SOON, **SMALL})
    try:
        for report in reports(
            cluster, {"node": wanted.nodes, "worker": wanted.workers, "driver": wanted.drivers}, wanted.seed
        ):
            wanted.to.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    finally:
        ray.shutdown()
        cluster.shutdown()
    print(json.dumps(report, indent=2))


def reports(cluster: Any, wanted: dict[str, int], seed: int) -> Iterator[dict[str, Any]]:
    """Train until so many of each have been killed; yield after each training what has come of all."""
    killer = Killer(cluster, seed)
    with tempfile.TemporaryDirectory() as name:
        alone = longer(spec_in(Path(name) / "images"))
        expected = train(alone, Path(name) / "alone", lambda at: None)
        spec = replace(alone, compute=replace(alone.compute, launcher="ray", address=cluster.address))
        for what, most in wanted.items():
            while killer.counts[what] < most:
                folder = Path(name) / f"training_{killer.counts['trainings']}"
                killer.counts["with other bits"] += killer.train(what, spec, folder) != expected
                killer.counts["trainings"] += 1
                print(dict(killer.counts), flush=True)
                yield {**killer.report(), "seed": seed, "machine": machine()}


def machine() -> dict[str, str]:
    """Say on what it was measured."""
    return {
        "processor": platform.machine(),
        "torch": torch.__version__,
        "ray": importlib.metadata.version("ray"),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
