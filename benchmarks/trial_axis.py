"""Heads of all trials together against one trial after the other: `python -m benchmarks.trial_axis`.

Generated JPEGs are decoded, and the frozen features of EfficientNet-Lite0 computed once. Then the heads of all trials
are trained, both ways in turn. A whole job is decoding, features and heads.

Writes `trial_axis.json`. `--images 1000` leaves out the longest part.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import growth, ours, recipes, result


def measure(root: Path, wanted: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Measure both ways on the images of a folder."""
    (strategy,) = recipes.heads(growth.SMALL, 1)
    trials = range(wanted.trials)
    started = time.perf_counter()
    data = ours.decode(root, [strategy], work)
    (warm,) = ours.train(strategy, data, work)
    once = time.perf_counter() - started - sum(ours.epoch_seconds(warm))
    seconds: dict[str, list[float]] = {"together": [], "one_by_one": []}
    for _ in range(wanted.repeats):
        started = time.perf_counter()
        ours.train(strategy, data, work, trials)
        middle = time.perf_counter()
        for trial in trials:
            ours.train(strategy, data, work, [trial])
        seconds["together"].append(middle - started)
        seconds["one_by_one"].append(time.perf_counter() - middle)
    together, alone = (statistics.median(seconds[way]) for way in ("together", "one_by_one"))
    return {
        "training_images": data.counts[0],
        "decoding_and_features_seconds": once,
        **{f"{way}_seconds": result.repeats(values) for way, values in seconds.items()},
        "heads_gain": alone / together,
        "whole_job_gain": (once + alone) / (once + together),
    }


def table(report: dict[str, Any]) -> result.Table:
    """Seconds of both ways."""
    rows = [
        [
            f"{measured['training_images']:,}",
            result.seconds(measured["decoding_and_features_seconds"]),
            result.seconds(measured["one_by_one_seconds"]["median"]),
            result.seconds(measured["together_seconds"]["median"]),
            f"{measured['heads_gain']:.2f}",
            f"{measured['whole_job_gain']:.2f}",
        ]
        for measured in report["sizes"]
    ]
    columns = ["training images", "decoding, features", "one by one", "together", "heads: times", "whole job: times"]
    title = f"Heads of {report['options']['trials']} trials together, and one after the other"
    return result.Table(title, columns, rows, result.made_on(report))


def main() -> None:
    """Measure each number of images."""
    parser = result.options(__doc__.partition(":")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[325, 66_667], help="in all; 75% of them train")
    parser.add_argument("--trials", type=int, default=recipes.TRIALS)
    parser.add_argument("--repeats", type=int, default=3)
    wanted = result.parse(parser, images=[40], trials=2, repeats=1)
    sizes = []
    with tempfile.TemporaryDirectory() as folder:
        for images in wanted.images:
            root = growth.generate(Path(folder), images, growth.SMALL)
            sizes.append(measure(root, wanted, Path(folder) / f"work_{images}"))
    table(result.write("trial_axis", wanted, {"sizes": sizes})).show()


if __name__ == "__main__":
    main()
