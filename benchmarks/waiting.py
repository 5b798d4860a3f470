"""How OpenMP's threads should wait: `python -m benchmarks.waiting`.

A training step of EfficientNet-Lite0 is timed in a process that is alone on the machine and in two beside each other,
for each setting of GNU's OpenMP in turn: waiting threads sleep at once, turn so many times first, or (its default) turn
for a long time.

Writes `waiting.json`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from typing import Any

from benchmarks import result

SETTINGS: dict[str, dict[str, str]] = {
    "sleep at once": {"OMP_WAIT_POLICY": "passive"},
    "1,000 turns": {"GOMP_SPINCOUNT": "1000"},
    "3,000 turns (ours)": {"GOMP_SPINCOUNT": "3000"},
    "10,000 turns": {"GOMP_SPINCOUNT": "10000"},
    "its default": {},
}
STEP = """
import statistics, sys, time
import torch
from torch.nn import functional
from benchmarks import ours, recipes

used = ours.machine()
network = ours.library_network(recipes.BACKBONES["efficientnet_lite0"], 2, 96).to(memory_format=torch.channels_last)
x_BCHW = torch.randn(32, 3, 96, 96).to(memory_format=torch.channels_last)
y_B = torch.zeros(32, dtype=torch.long)
optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
seconds = []
for _ in range(int(sys.argv[1]) + 3):
    started = time.perf_counter()
    optimizer.zero_grad()
    functional.cross_entropy(network(x_BCHW), y_B).backward()
    optimizer.step()
    seconds.append(time.perf_counter() - started)
print(statistics.median(seconds[3:]))
"""


def start(setting: dict[str, str], steps: int) -> subprocess.Popen[str]:
    """Start a process that trains and prints the median seconds of a step."""
    inherited = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    if not setting:  # a number that our own default does not replace, and that is what OpenMP takes without any
        setting = {"GOMP_SPINCOUNT": "300000"}
    return subprocess.Popen(
        [sys.executable, "-c", STEP, str(steps)], env=inherited | setting, stdout=subprocess.PIPE, text=True
    )


def step_seconds(setting: dict[str, str], steps: int, beside: int) -> float:
    """Measure so many processes beside each other; return the mean of their medians."""
    processes = [start(setting, steps) for _ in range(beside)]
    return statistics.mean(float(process.communicate()[0]) for process in processes)


def table(report: dict[str, Any]) -> result.Table:
    """Seconds of a step."""
    alone, beside = (report["steps"]["its default"][key]["median"] for key in ("alone", "two_beside"))
    rows = [
        [
            name,
            *(
                text
                for key, default in (("alone", alone), ("two_beside", beside))
                for text in (f"{of[key]['median'] * 1000:.0f} ms", f"{of[key]['median'] / default:.2f}")
            ),
        ]
        for name, of in report["steps"].items()
    ]
    columns = ["waiting threads", "a step alone", "of the default", "two beside each other", "of the default"]
    return result.Table("How OpenMP's threads wait", columns, rows, result.made_on(report))


def main() -> None:
    """Take turns."""
    parser = result.options(__doc__.partition(":")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    wanted = result.parse(parser, rounds=1, steps=1)
    seconds: dict[str, dict[str, list[float]]] = {name: {"alone": [], "two_beside": []} for name in SETTINGS}
    for _ in range(wanted.rounds):
        for name, setting in SETTINGS.items():
            seconds[name]["alone"].append(step_seconds(setting, wanted.steps, 1))
            seconds[name]["two_beside"].append(step_seconds(setting, wanted.steps, 2))
    steps = {name: {key: result.repeats(values) for key, values in of.items()} for name, of in seconds.items()}
    table(result.write("waiting", wanted, {"steps": steps})).show()


if __name__ == "__main__":
    main()
