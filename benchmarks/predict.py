"""Is predicting files as fast as evaluating them? `python -m benchmarks.predict --data cifar10_images.tar.xz`.

The test images of CIFAR-10 as JPEG files are predicted by EfficientNet-Lite0 at 96 px, once frozen and once as a tuned
network would be (its head is random: speed is the same), with prediction sets and distances to 1,000 training images.
Evaluation decodes the same files into a store and runs the same network on it. Every measurement has a process of its
own, whose memory, with that of the processes that decode, is looked at all the time. Evaluation and prediction take
turns, so that their ratio holds on a busy machine, too.

Writes `predict.json`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import ours, recipes, result
from benchmarks.growth import peak_memory
from transferlab.core.calibration.reference import Calibrated, Reference, Training
from transferlab.core.data.listing.config import ClassFolders
from transferlab.core.data.listing.layout import list_images
from transferlab.core.data.store_builder import build
from transferlab.core.evaluation.predictions import predict_split
from transferlab.core.inference.predict import predict_files
from transferlab.core.inference.sources import find_images
from transferlab.core.loading.feature_cache import FeatureCache, FeatureCacheConfig
from transferlab.core.loading.images import Split
from transferlab.core.models import factory
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.strategies.strategy import Strategy
from transferlab.datasets.table import written_in_parts
from transferlab.pipelines.predict.bulk import Request, predict_all

(FROZEN,) = recipes.heads(96, 1)
TUNED = replace(FROZEN, stages={"tune": replace(FROZEN.stages["head"], trainable="all")})
STRATEGIES = {"frozen": FROZEN, "tuned": TUNED}
CALIBRATED_ON, TRAINING = 200, 1_000  # images


def checkpoint_of(strategy: Strategy, classes: list[str]) -> Checkpoint:
    """Return the network as it is before training; of what its recipe trains depends how it is run."""
    begin = factory.initial(strategy.model, strategy.input, classes, {}, 0)
    return replace(begin, header=replace(begin.header, recipe=strategy.to_json()))


def evaluated(root: Path, strategy: Strategy, count: int) -> dict[str, Any]:
    """Decode the files into a store and evaluate on it, as a run does."""
    listing, _ = list_images(root, ClassFolders())
    listing = some(listing, count)
    checkpoint = checkpoint_of(strategy, sorted(set(listing["class"])))
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with ours.main_module_left_out():
            stores, found, _ = build(root, listing, [checkpoint.header.view.stored_as], Path(folder) / "stores")
        decoded = time.perf_counter()
        (store,) = stores.values()
        labels_N = np.array([checkpoint.header.classes.index(name) for name in found["class"]])
        split = Split("test", store, np.arange(len(found)), labels_N)
        cache = FeatureCache(Path(folder) / "features", FeatureCacheConfig())
        predict_split(checkpoint, strategy, split, ours.machine(), cache)
        ended = time.perf_counter()
    return {"images": len(found), "seconds": ended - started, "decoding": decoded - started}


def predicted(root: Path, strategy: Strategy, count: int) -> dict[str, Any]:
    """Predict the files and write the table, as the command does."""
    items = find_images([str(root)], ())
    chosen = some(pd.DataFrame({"class": [item.path.parent.name for item in items], "item": items}), count)
    paths = [str(item.path) for item in chosen["item"]]
    checkpoint = checkpoint_of(strategy, sorted(set(chosen["class"])))
    calibrated = Calibrated.of([reference(checkpoint, paths[:CALIBRATED_ON])])
    with tempfile.TemporaryDirectory() as folder, ours.main_module_left_out():
        request = Request([checkpoint], paths, ours.machine(), calibrated)
        started = time.perf_counter()
        with written_in_parts(Path(folder) / "predictions.csv") as write:
            tally = predict_all(request, Path(folder) / "parts", write, print)
        ended = time.perf_counter()
    return {"images": tally.found - tally.refused, "seconds": ended - started}


def some(listing: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return so many rows, of each class as many."""
    turn = listing.groupby("class").cumcount()
    return listing.loc[turn.sort_values(kind="stable").index[:count]].sort_index().reset_index(drop=True)


def reference(checkpoint: Checkpoint, paths: Sequence[str]) -> Reference:
    """Return what the prediction sets and distances are calibrated on: here some of the images themselves."""
    found = list(predict_files([checkpoint], paths, ours.machine(), workers=0))
    p_NK = np.stack([one.probabilities for one in found if one.probabilities is not None])
    features = [np.stack(layer) for layer in zip(*(one.features[0] for one in found), strict=True)]
    places = np.arange(TRAINING) % len(paths)  # more than there are: what counts is how many are looked at
    training = Training(tuple(layer_NF[places] for layer_NF in features), places, tuple(paths[i] for i in places))
    return Reference.of("these", p_NK, p_NK.argmax(axis=1), features, training)


WAYS = {"evaluate": evaluated, "predict": predicted}


def measure(way: str, network: str, root: Path, count: int, answer: Connection) -> None:
    """Measure one way, in the process that is watched."""
    answer.send(WAYS[way](root, STRATEGIES[network], count))


def watched(way: str, network: str, root: Path, count: int) -> dict[str, Any]:
    """Measure in a process of its own, and watch its memory."""
    processes = multiprocessing.get_context("spawn")
    receiver, sender = processes.Pipe(duplex=False)
    process = processes.Process(target=measure, args=(way, network, root, count, sender))
    process.start()
    sender.close()
    peaks = peak_memory(process)
    if process.exitcode != 0:
        raise RuntimeError(f"{way} of {count} images ended with {process.exitcode}")
    return {**receiver.recv(), **peaks}


def table(report: dict[str, Any]) -> result.Table:
    """Images per second, memory, and the ratio of both ways."""
    rows = []
    for case in report["cases"]:
        evaluate, predict = case["evaluate"], case["predict"]
        rows.append(
            [
                case["network"],
                f"{predict['images']:,}",
                *(f"{of['images'] / of['seconds']['median']:.0f}" for of in (evaluate, predict)),
                f"{case['ratio']['median']:.2f}",
                *(f"{max(of['memory_mib']):.0f} MiB" for of in (evaluate, predict)),
            ]
        )
    columns = ["network", "images", "evaluate, images/s", "predict, images/s", "ratio of seconds", "memory of evaluate",
               "memory of predict"]  # fmt: skip
    note = f"Both with decoding; peaks of memory without mapped files. {result.made_on(report)}"
    return result.Table("Predicting files against evaluating them", columns, rows, note)


def measured(root: Path, network: str, count: int, rounds: int) -> dict[str, Any]:
    """Take turns; the ratio is that of each round."""
    looks: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            looks[way].append(watched(way, network, root, count))
    ratios = [p["seconds"] / e["seconds"] for p, e in zip(looks["predict"], looks["evaluate"], strict=True)]
    of_ways = {
        way: {
            "images": of[0]["images"],
            "seconds": result.repeats([one["seconds"] for one in of]),
            "memory_mib": [one["memory_mib"] for one in of],
            "with_mapped_files_mib": [one["with_mapped_files_mib"] for one in of],
        }
        for way, of in looks.items()
    }
    return {"network": network, "ratio": result.repeats(ratios), **of_ways}


def main() -> None:
    """Measure every case."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    text = "folder or archive with train/<class> and test/<class>"
    parser.add_argument("--data", type=Path, required=True, help=text)
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    wanted = result.parse(parser, images=[40], rounds=1)
    with tempfile.TemporaryDirectory() as folder:
        root = ours.unpacked(wanted.data, Path(folder)) / "test"
        cases = [measured(root, name, count, wanted.rounds) for name in STRATEGIES for count in wanted.images]
    table(result.write("predict", wanted, {"cases": cases})).show()


if __name__ == "__main__":
    main()
