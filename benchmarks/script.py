"""A straightforward script against ours: `python -m benchmarks.script --data hymenoptera_data.zip`.

The job is 10 trials of 20 epochs of each strategy, with the published batch size, optimizer and augmentation, from the
folder of photographs on: decoding counts. Both take turns, epoch by epoch; the script in a process of its own, since
ours changes how its process allocates memory, which would make the script faster too.

- An epoch costs the same whatever its number, so some epochs are measured and scaled to the job: always for the script,
  and for ours where every layer trains. `--whole-trials 1` trains whole trials of both, for their last accuracies.
- `--at-a-time 2` trains, besides, so many trials of ours at a time, each on its share of the cores: what a user gets
  from `training.compute.parallel_trials`. The script has no such thing.
- With frozen layers ours is measured whole, all trials: `cold` with nothing there but the photographs, `warm` with the
  decoded images and the features of an earlier run.
- The script loads with as many workers as are fastest on this machine, which is tried first; that also warms it up.

Writes `script.json`, or `script_resnet18.json` with `--backbone resnet18` (random weights: seconds only).
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from benchmarks import ours, recipes, result, straightforward, worker_iterator

Variant = dict[str, Any]


@dataclass
class Comparison:
    """The two at one strategy.

    Attributes:
        wanted: the options.
        root: the folder of photographs.
        work: a folder for what ours keeps.
        name: of the strategy.
        backbone: of all but `scratch`.
    """

    wanted: argparse.Namespace
    root: Path
    work: Path
    name: str
    backbone: ours.Model

    def __post_init__(self) -> None:
        started = time.perf_counter()
        self.data = ours.decode(self.root, [self.strategy()], self.work)
        self.decode_seconds = time.perf_counter() - started
        self.epochs = recipes.EPOCHS if self.wanted.whole_trials else self.wanted.script_epochs

    def strategy(self, epochs: int = recipes.EPOCHS, views: int = recipes.EPOCHS) -> ours.Strategy:
        """Return the strategy, shorter or with fewer views."""
        return recipes.published(self.backbone, epochs, views)[self.name]

    def script(self, epochs: int, workers: int, seed: int) -> Iterator[straightforward.Epoch]:
        """Run a trial of the script, an epoch at a time."""
        network, head = ours.plain_network(self.strategy(), self.data, seed)
        trained = head if self.name == "feature_extraction" else None
        statistics = ours.normalisation(self.strategy(), self.data)
        options = self.root, statistics, recipes.BATCH_SIZE, workers, epochs
        return worker_iterator.iterate(straightforward.script, network, trained, *options)

    def measure(self) -> dict[str, Any]:
        """Take turns, then scale to the job."""
        by_workers = {workers: next(self.script(1, workers, seed=0)).seconds for workers in self.wanted.workers}
        workers = min(by_workers, key=by_workers.__getitem__)
        take_turns = self._whole_jobs if self.name == "feature_extraction" else self._epochs
        of_ours, of_script = take_turns(workers)
        if self.wanted.at_a_time > 1 and self.name != "feature_extraction":
            of_ours.append(self._at_a_time(self.wanted.at_a_time))
        seconds = [epoch.seconds for trial in of_script for epoch in trial]
        script = {
            "epoch_seconds_by_workers": by_workers,
            "workers": workers,
            "epoch_seconds": result.repeats(seconds),
            "job_seconds": self.wanted.trials * recipes.EPOCHS * statistics.median(seconds),
            "epochs": self.epochs,
            "accuracy": result.repeats([trial[-1].accuracy for trial in of_script]),
        }
        for variant in of_ours:
            variant["times_faster"] = script["job_seconds"] / variant["job_seconds"]["median"]
        return {"script": script, "ours": of_ours}

    def _epochs(self, workers: int) -> tuple[list[Variant], list[list[straightforward.Epoch]]]:
        """Trials of both, epoch by epoch; ours scaled to the job."""
        trials = [self._in_turn(seed, workers) for seed in range(max(1, self.wanted.whole_trials))]
        results, seconds, of_script = zip(*trials, strict=True)
        alike = statistics.median(epoch for _, *epochs, _ in seconds for epoch in epochs)
        around = [first + last for first, *_, last in seconds]  # with the first epoch
        of_trial = statistics.median(around) + (recipes.EPOCHS - 1) * alike
        job = self.decode_seconds + self.wanted.trials * of_trial
        variant = {
            "what": "epochs, scaled",
            "decode_seconds": self.decode_seconds,
            "first_epoch_and_rest_seconds": result.repeats(around),
            "epoch_seconds": result.repeats([epoch for _, *epochs, _ in seconds for epoch in epochs]),
            "job_seconds": result.repeats([job]),
            **self._accuracies(results),
        }
        return [variant], list(of_script)

    def _in_turn(self, seed: int, workers: int) -> tuple[ours.TrialResult, list[float], list[straightforward.Epoch]]:
        """Run a trial of each; return the seconds of ours up to the end of each epoch, and after the last."""
        script, of_script = self.script(self.epochs, workers, seed), list[straightforward.Epoch]()
        seconds, began = [], [time.perf_counter()]

        def turn(_: ours.Progress) -> None:
            seconds.append(time.perf_counter() - began[-1])
            of_script.append(next(script))
            began.append(time.perf_counter())

        (trained,) = ours.train(self.strategy(self.epochs), self.data, self.work, seed=seed, after_epoch=turn)
        return trained, [*seconds, time.perf_counter() - began[-1]], of_script

    def _at_a_time(self, count: int) -> Variant:
        """So many trials of ours at a time; what happens once, such as starting processes, is not scaled."""
        ends: dict[int, list[float]] = {number: [] for number in range(count)}

        def ended(at: ours.Progress) -> None:
            ends[at.trial].append(time.perf_counter())

        started = time.perf_counter()
        strategy = self.strategy(self.epochs)
        results = ours.train(
            strategy, self.data, self.work, ends, after_epoch=ended, compute=ours.Compute(parallel_trials=count)
        )
        seconds = time.perf_counter() - started
        epochs = [last - first for of_trial in ends.values() for first, last in pairwise(of_trial)]
        alike = statistics.median(epochs)
        once = self.decode_seconds + seconds - self.epochs * alike
        job = once + math.ceil(self.wanted.trials / count) * recipes.EPOCHS * alike
        return {
            "what": f"epochs, scaled, {count} trials at a time",
            "once_seconds": once,
            "epoch_seconds": result.repeats(epochs),
            "job_seconds": result.repeats([job]),
            **self._accuracies(results),
        }

    def _whole_jobs(self, workers: int) -> tuple[list[Variant], list[list[straightforward.Epoch]]]:
        """Whole jobs of ours with epochs of the script between them."""
        script, of_script = self.script(self.epochs, workers, seed=0), list[straightforward.Epoch]()
        variants = [(views, cache) for views in self.wanted.views for cache in ("cold", "warm")]
        seconds: dict[tuple[int, str], list[float]] = {variant: [] for variant in variants}
        results: dict[int, list[ours.TrialResult]] = {}
        for repeat in range(self.wanted.repeats):
            for views, cache in variants:
                started = time.perf_counter()
                folder = self.work / f"{views}_views_{repeat}"
                results[views] = ours.job(self.root, self.strategy(views=views), folder, self.wanted.trials)
                seconds[views, cache].append(time.perf_counter() - started)
                of_script.extend(islice(script, 1))
        of_script.extend(script)
        of_ours = [
            {"what": f"{views} views, {cache}", "job_seconds": result.repeats(seconds[views, cache])}
            | self._accuracies(results[views])
            for views, cache in variants
        ]
        return of_ours, [of_script]

    def _accuracies(self, results: Iterable[ours.TrialResult]) -> dict[str, Any]:
        of_same = [ours.accuracy(trained, self.epochs) for trained in results]
        last = {"last_accuracy": result.repeats([ours.accuracy(trained) for trained in results])}
        return {"accuracy": result.repeats(of_same), **last}


def table(report: dict[str, Any]) -> result.Table:
    """Job against job."""
    options = report["options"]
    rows = [
        [
            name,
            variant["what"],
            result.seconds(both["script"]["epoch_seconds"]["median"]),
            result.seconds(both["script"]["job_seconds"]),
            result.seconds(variant["job_seconds"]["median"]),
            f"{variant['times_faster']:.3g}",
            result.percent(both["script"]["accuracy"]["median"]),
            result.percent(variant["accuracy"]["median"]),
            result.percent(variant["last_accuracy"]["median"]),
        ]
        for name, both in report["strategies"].items()
        for variant in both["ours"]
    ]
    epochs = {both["script"]["epochs"] for both in report["strategies"].values()}
    same = f"accuracy after {max(epochs)} epochs"
    columns = ["strategy", "ours", "script: epoch", "script: job", "ours: job", "times faster"]
    columns += [f"script: {same}", f"ours: {same}", "ours: last epoch"]
    title = f"A straightforward script and ours, {options['backbone']}, {options['trials']} trials of 20 epochs"
    return result.Table(title, columns, rows, result.made_on(report))


def main() -> None:
    """Measure each strategy."""
    parser = result.options(__doc__.partition(":")[0], data=True)
    parser.add_argument("--strategies", nargs="+", choices=recipes.STRATEGIES, default=recipes.STRATEGIES)
    parser.add_argument("--backbone", choices=list(recipes.BACKBONES), default="efficientnet_lite0")
    parser.add_argument("--script-epochs", type=int, default=3, help="measured of both, at least 2")
    parser.add_argument("--whole-trials", type=int, default=0, help="trials of 20 epochs, in place of --script-epochs")
    parser.add_argument("--trials", type=int, default=recipes.TRIALS, help="of the job")
    parser.add_argument("--at-a-time", type=int, default=1, help="trials of ours, where every layer trains")
    parser.add_argument("--views", type=int, nargs="+", default=[20, 4], help="of feature extraction")
    parser.add_argument("--repeats", type=int, default=1, help="of the whole jobs of feature extraction")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2, 4], help="of the script's loaders, to try")
    parser.add_argument("--images", type=int, help="of each class and part; by default all")
    wanted = result.parse(parser, script_epochs=2, trials=2, views=[2], workers=[0], images=8)
    with tempfile.TemporaryDirectory() as folder:
        root = ours.images(wanted.data, Path(folder) / "images", wanted.images)
        backbone = ours.with_weights(recipes.BACKBONES[wanted.backbone], Path(folder))
        measured = {
            name: Comparison(wanted, root, Path(folder) / name, name, backbone).measure() for name in wanted.strategies
        }
    ours_alone = "" if wanted.backbone == "efficientnet_lite0" else f"_{wanted.backbone}"
    table(result.write(f"script{ours_alone}", wanted, {"strategies": measured})).show()


if __name__ == "__main__":
    main()
