"""What users would pick instead, against ours: `python -m benchmarks.others --data hymenoptera_data.zip`.

fastai, timm and Lightning, each in its usual way (`others_run.py`), in an environment of their own that `uv` makes in
`--environment` if it is not there. All have the same photographs, weights (EfficientNet-Lite0), batch size and epochs;
fastai has its own head, rates, and one more epoch of the head alone where it fine-tunes. Seconds are from the folder of
photographs to a trained network with its held-out accuracy of every epoch: imports are not counted, decoding is. A
second trial costs the others what the first did; ours has decoded images and features by then.

Writes `others.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks import ours, recipes, result

PROGRAM = Path(__file__).parent / "others_run.py"
PACKAGES = ("fastai", "timm", "lightning")
RATES = {"fine_tuning": 5e-4, "feature_extraction": 3e-3}


def environment(folder: Path) -> Path:
    """Find the Python of an environment that has the libraries; make it if it is missing."""
    python = folder / "bin" / "python"
    if not python.is_file():
        same = [f"torch=={torch.__version__.partition('+')[0]}", f"timm=={version('timm')}"]
        subprocess.run(["uv", "venv", "--python", platform.python_version(), str(folder)], check=True)
        subprocess.run(["uv", "pip", "install", "--python", str(python), *PACKAGES, *same], check=True)
    return python


def other(python: Path, library: str, strategy: str, root: Path, weights: Path, wanted: Any) -> dict[str, Any]:
    """Train with a library, in a process of its environment."""
    options = {"data": root, "weights": weights, "rate": RATES[strategy]}
    options |= {"epochs": wanted.epochs, "batch-size": wanted.batch_size, "workers": wanted.workers}
    command = [str(python), str(PROGRAM), library, strategy]
    command += [part for key, value in options.items() for part in (f"--{key}", str(value))]
    alone = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=alone)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def of_ours(strategy: ours.Strategy, root: Path, folder: Path) -> dict[str, Any]:
    """Two trials of ours: the first from the folder of photographs on, the second with what the first left."""
    seconds, results = [], []
    for trial in range(2):
        started = time.perf_counter()
        results += ours.train(strategy, ours.decode(root, [strategy], folder), folder, [trial])
        seconds.append(time.perf_counter() - started)
    first, again = seconds
    return {"seconds": first, "seconds_again": again, "accuracy": ours.accuracy(results[0])}


def measure(wanted: argparse.Namespace, work: Path) -> dict[str, dict[str, Any]]:
    """Each strategy: ours and the others take turns."""
    root = ours.images(wanted.data, work / "images", wanted.images)
    weights = work / "weights.pth"
    torch.save(ours.imagenet_weights(recipes.BACKBONES["efficientnet_lite0"]), weights)
    python = environment(wanted.environment)
    measured: dict[str, dict[str, Any]] = {}
    for name in wanted.strategies:
        strategy = recipes.usual(wanted.epochs, wanted.batch_size, RATES[name])[name]
        runs: dict[str, list[dict[str, Any]]] = {who: [] for who in ("ours", *wanted.libraries)}
        for repeat in range(wanted.repeats):
            runs["ours"].append(of_ours(strategy, root, work / f"{name}_{repeat}"))
            for library in wanted.libraries:
                runs[library].append(other(python, library, name, root, weights, wanted))
        measured[name] = {who: summary(of_one) for who, of_one in runs.items()}
    return measured


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """All seconds and accuracies, and what does not change."""
    changing = [key for key in ("seconds", "seconds_again", "accuracy") if key in runs[0]]
    return {**runs[0], **{key: result.repeats([run[key] for run in runs]) for key in changing}}


def table(report: dict[str, Any]) -> result.Table:
    """Seconds and accuracies."""
    rows = [
        [
            strategy,
            f"{who} {about.get('version', '')}".strip(),
            result.seconds(about["seconds"]["median"]),
            result.seconds(about.get("seconds_again", about["seconds"])["median"]),
            result.percent(about["accuracy"]["median"]),
        ]
        for strategy, all_of_them in report["strategies"].items()
        for who, about in all_of_them.items()
    ]
    columns = ["strategy", "with", "first trial", "each further trial", "accuracy"]
    options = report["options"]
    title = f"What users would pick instead: {options['epochs']} epochs, batches of {options['batch_size']}"
    return result.Table(title, columns, rows, result.made_on(report))


def main() -> None:
    """Measure all."""
    parser = result.options(__doc__.partition(":")[0], data=True)
    folder = Path(tempfile.gettempdir()) / "transferlab_others_environment"
    parser.add_argument("--environment", type=Path, default=folder, help="made if it is not there (6 GB)")
    parser.add_argument("--libraries", nargs="+", choices=PACKAGES, default=PACKAGES)
    parser.add_argument("--strategies", nargs="+", choices=list(RATES), default=list(RATES))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="of the others' loaders")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--images", type=int, help="of each class and part; by default all")
    wanted = result.parse(parser, strategies=["feature_extraction"], epochs=1, images=8, batch_size=4)
    with tempfile.TemporaryDirectory() as work:
        measured = measure(wanted, Path(work))
    table(result.write("others", wanted, {"strategies": measured})).show()


if __name__ == "__main__":
    main()
