"""Time to the published accuracy: `python -m benchmarks.time_to --data hymenoptera_data.zip`.

How long until a network first names 92.7% of the 153 held-out photographs right, the published accuracy of fine-tuning:
the straightforward script's fine-tuning as published, and recipes of ours (`recipes.short`), all with the weights of
EfficientNet-Lite0, several seeds, taking turns. Seconds begin at the folder of photographs: the script decodes as it
trains, ours decodes into its store. Held-out accuracy is looked at after every epoch, for all alike, and the first
epoch that is good enough may be so by luck; so ours goes on to the end of its recipe, and the table gives that too.

Writes `time_to.json`.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import ours, recipes, result, straightforward, worker_iterator

SCRIPT = "script: fine-tuning"


class Point(NamedTuple):
    """The held-out accuracy after so many seconds, a point of a curve."""

    seconds: float
    accuracy: float


def of_script(root: Path, work: Path, seed: int, epochs: int, workers: int) -> Iterator[Point]:
    """Run the script's fine-tuning as published."""
    strategy = recipes.published(recipes.BACKBONES["efficientnet_lite0"])["fine_tuning"]
    data = ours.decode(root, [strategy], work)  # only for the names of the classes: not counted
    network, _ = ours.plain_network(strategy, data, seed)
    options = root, ours.normalisation(strategy, data), recipes.BATCH_SIZE, workers, epochs
    seconds = 0.0
    for epoch in worker_iterator.iterate(straightforward.script, network, None, *options):
        seconds += epoch.seconds
        yield Point(seconds, epoch.accuracy)


def of_recipe(strategy: ours.Strategy, root: Path, work: Path, seed: int) -> list[Point]:
    """Train a recipe of ours to its end."""
    curve: list[Point] = []
    started = time.perf_counter()

    def look(at: ours.Progress) -> None:
        curve.append(Point(time.perf_counter() - started, at.held_out_accuracy or 0.0))

    ours.train(strategy, ours.decode(root, [strategy], work), work, seed=seed, after_epoch=look)
    return curve


def up_to(target: float, points: Iterator[Point]) -> list[Point]:
    """Return the points up to the first that is good enough."""
    curve = []
    for point in points:
        curve.append(point)
        if point.accuracy >= target:
            break
    return curve


def summary(curves: list[list[Point]], target: float) -> dict[str, Any]:
    """Summarise curves: the median of the seconds to the target (infinite if never reached), and how they end."""
    first = [next((point.seconds for point in curve if point.accuracy >= target), math.inf) for curve in curves]
    median = statistics.median(first)
    return {
        "seconds": {
            "median": median if median < math.inf else None,
            "all": [seconds if seconds < math.inf else None for seconds in first],
        },
        "end_seconds": result.repeats([curve[-1].seconds for curve in curves]),
        "end_accuracy": result.repeats([curve[-1].accuracy for curve in curves]),
        "curves": [[point._asdict() for point in curve] for curve in curves],
    }


def table(report: dict[str, Any]) -> result.Table:
    """Make the table of seconds to the target, and to the end."""
    script = report["ways"][SCRIPT]["seconds"]["median"]
    rows = []
    for name, way in report["ways"].items():
        took, every = way["seconds"]["median"], way["seconds"]["all"]
        reached = sum(seconds is not None for seconds in every)
        end = [result.seconds(way["end_seconds"]["median"]), result.percent(way["end_accuracy"]["median"])]
        faster = f"{script / took:.1f}" if script and took else ""
        rows.append([name, result.seconds(took) or "not reached", faster, f"{reached} of {len(every)}", *end])
    columns = ["recipe", "reached after", "times faster", "seeds that reached it", "ended after", "accuracy at the end"]
    title = f"Time to {report['options']['target']:.1%} of the held-out photographs of ants and bees"
    note = f"Medians over seeds; the script ends where it reaches the accuracy. {result.made_on(report)}"
    return result.Table(title, columns, rows, note)


def main() -> None:
    """Measure every way, seed by seed."""
    parser = result.options(__doc__.partition(":")[0], data=True)
    parser.add_argument("--target", type=float, default=recipes.PUBLISHED_ACCURACY)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--script-epochs", type=int, default=recipes.EPOCHS, help="at most, of the script")
    parser.add_argument("--workers", type=int, default=2, help="of the script's loaders; see benchmarks.script")
    parser.add_argument("--images", type=int, help="of each class and part; by default all")
    wanted = result.parse(parser, seeds=1, script_epochs=1, workers=0, images=8)
    curves: dict[str, list[list[Point]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        root = ours.images(wanted.data, work / "images", wanted.images)
        for seed in range(wanted.seeds):
            script = of_script(root, work / "names", seed, wanted.script_epochs, wanted.workers)
            curves.setdefault(SCRIPT, []).append(up_to(wanted.target, script))
            for number, (name, strategy) in enumerate(recipes.short().items()):
                curve = of_recipe(strategy, root, work / f"{number}_{seed}", seed)
                curves.setdefault(f"ours: {name}", []).append(curve)
    ways = {name: summary(of_way, wanted.target) for name, of_way in curves.items()}
    table(result.write("time_to", wanted, {"ways": ways})).show()


if __name__ == "__main__":
    main()
