"""Does an ingredient help? Each against the plain recipe, in paired trials on validation folds of training images.

The test images of an experiment are never read. Trial t holds out fold t of `--trials` (folds of five parts, shuffled
anew after five), for all recipes alike. Each ingredient is added to the last stage of the strategy `--recipe`. If there
are stages before it, one row leaves them out. `--rare bees=0.05` thins that class to that share of the images.
`python -m benchmarks.ingredients solar_cells hymenoptera --data hymenoptera_data.zip`

Writes `ingredients.json`, anew after each row.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import RepeatedStratifiedKFold

from benchmarks import ours, result
from transferlab import settings
from transferlab.config.loader import ExperimentConfigLoader
from transferlab.config.schema import Experiment
from transferlab.core.data import sources
from transferlab.core.data.archives.extract import extract
from transferlab.core.data.download import Downloads
from transferlab.core.data.listing.layout import list_images
from transferlab.core.data.split.index import assign, limited
from transferlab.core.data.statistics import channel_statistics
from transferlab.core.data.store import ImageStore
from transferlab.core.data.store_builder import build
from transferlab.core.evaluation.intervals import over_trials
from transferlab.core.evaluation.predictions import predict_split
from transferlab.core.launch.trials import train_trials
from transferlab.core.loading.feature_cache import FeatureCache, FeatureCacheConfig
from transferlab.core.loading.images import Split
from transferlab.core.metrics import scores
from transferlab.core.models import factory, freezing
from transferlab.core.models.freezing import LayerDecay
from transferlab.core.ranking.backbones import sample
from transferlab.core.runtime.compute import Compute
from transferlab.core.runtime.seeding import derive
from transferlab.core.strategies.optimizers import Adam
from transferlab.core.strategies.strategy import Stage, Strategy
from transferlab.core.training.spec import TrialSpec
from transferlab.core.transforms.operations import RandAugment, TrivialAugment

FOLDS = 5
PLAIN = "plain"
BACKBONE = "efficientnet_lite0"  # of hymenoptera's: its weights are in a package


@dataclass(frozen=True)
class Images:
    """The training images of an experiment: their store, rows and labels, classes, and statistics."""

    store: ImageStore
    rows: np.ndarray
    labels: np.ndarray
    classes: list[str]
    statistics: dict[str, Any]


def recipes(plain: Strategy) -> dict[str, Strategy]:
    """Return the plain recipe and, by name, what each ingredient makes of its last stage."""
    (*before, (name, stage)), model = plain.stages.items(), plain.model
    changed: dict[str, dict[str, Any]] = {
        PLAIN: {},
        "layer_decay 0.75": {"trainable": LayerDecay(layer_decay=0.75, rows=freezing.rows(stage.trainable, ()))},
        "ema 0.99": {"ema": 0.99},
        "mixup 0.2": {"mixup": 0.2},
        "cutmix 1.0": {"cutmix": 1.0},
        "trivial_augment": {"augmentation": (*stage.augmentation, TrivialAugment())},
        "rand_augment": {"augmentation": (*stage.augmentation, RandAugment())},
        "label_smoothing 0.1": {"label_smoothing": 0.1},
        "class_weights": {"class_weights": "balanced"},
        "sampler": {"sampler": "balanced"},
    }
    found = {
        key: replace(plain, stages={**dict(before), name: replace(stage, **changes)})
        for key, changes in changed.items()
    }
    found["drop_path 0.1"] = replace(plain, model=replace(model, drop_path=0.1))
    if before:
        found["no head first"] = replace(plain, stages={name: stage})
    else:
        adamw = Adam(name="adamw", lr=1e-3)
        head = Stage(epochs=10, trainable="head", optimizer=adamw, augmentation=stage.augmentation, views=4)
        found["head first"] = replace(plain, stages={"probe": head, name: stage})
    return found


def chosen(every: dict[str, Strategy], names: Sequence[str] | None) -> dict[str, Strategy]:
    """Return the plain recipe and those named, or all.

    Raises:
        ValueError: there is no such recipe.
    """
    if unknown := sorted(set(names or ()) - every.keys()):
        raise ValueError(f"--ingredients {', '.join(unknown)}: there are {', '.join(every)}")
    return {name: strategy for name, strategy in every.items() if names is None or name in (PLAIN, *names)}


def experiment(name: str) -> Experiment:
    """Read an experiment of conf/."""
    conf = str(Path(__file__).parents[1] / "conf")
    chosen = {"_backbone": BACKBONE} if name == "hymenoptera" else {}
    how = {"env": name, "runtime_params": chosen, **settings.CONFIG_LOADER_ARGS}
    return ExperimentConfigLoader(conf_source=conf, **how).experiment


@dataclass(frozen=True)
class Decoded:
    """All images of an experiment: the folder they are in, their store, and their index."""

    root: Path
    store: ImageStore
    index: pd.DataFrame

    def images(self, rows: pd.DataFrame, train: pd.DataFrame) -> Images:
        """Return some rows of the index as images, with the statistics of those to train on."""
        classes = list(self.index.drop_duplicates("label").sort_values("label")["class"])
        stored, trained_on = (self.store.rows_of(each["pixel_sha256"]) for each in (rows, train))
        return Images(self.store, stored, rows["label"].to_numpy(), classes, channel_statistics(self.store, trained_on))


def decoded(found: Experiment, plain: Strategy, folder: Path, mirror: Path | None) -> Decoded:
    """Decode the images of an experiment at the size of a strategy's network; `mirror` is where archives lie."""
    acquired = sources.acquire(found.dataset.source, Downloads(folder / "downloads", (str(mirror),) if mirror else ()))
    root = extract(acquired.path, folder / "extracted", acquired.subfolder)
    listing, _ = list_images(root, found.dataset.layout, found.dataset.split.groups)
    resize = factory.view_of(plain.model, plain.input, None).stored_as
    with ours.main_module_left_out():
        stores, accepted, _ = build(root, limited(listing, found.dataset.split), [resize], folder / "stores")
    return Decoded(root, stores[resize.key], assign(accepted, found.dataset.split))


def training_images(found: Experiment, plain: Strategy, folder: Path, wanted: argparse.Namespace) -> Images:
    """Decode the training images of an experiment, as many and as rare as asked for."""
    every = decoded(found, plain, folder, wanted.data.parent if wanted.data else None)
    train = every.index[every.index["split"] != "test"]
    if wanted.rare is not None:
        train = thinned(train, *wanted.rare)
    train = train if wanted.images is None else sample(train, wanted.images)
    return every.images(train, train)


def trial(
    strategy: Strategy, images: Images, number: int, fold: tuple[np.ndarray, np.ndarray], folder: Path
) -> dict[str, float]:
    """Train one trial without its fold, and measure it on it."""
    p_NK, label_N, seconds = predicted(strategy, images, number, fold, folder)
    return {**scores(p_NK, label_N), "seconds": seconds}


def predicted(
    strategy: Strategy, images: Images, number: int, fold: tuple[np.ndarray, np.ndarray], folder: Path
) -> tuple[np.ndarray, np.ndarray, float]:
    """Train one trial without its fold; return what it says of the fold, the truth, and the seconds of training."""
    seed, keep = derive(0, "trial", 0), strategy.head == "classifier"
    initial = factory.initial(strategy.model, strategy.input, images.classes, images.statistics, seed, keep)
    train, held_out = (
        Split(name, images.store, images.rows[rows], images.labels[rows], images.rows)
        for name, rows in zip(("train", "validation"), fold, strict=True)
    )
    spec = TrialSpec("recipe", strategy, initial, train, None, number, 0, Compute())
    done = train_trials([spec], folder / "features", lambda at: None)[number]
    cache = FeatureCache(folder / "features", FeatureCacheConfig())
    p_NK = predict_split(done.checkpoint, strategy, held_out, ours.machine(), cache).p_NK
    return p_NK, held_out.labels, done.cost.seconds


def thinned(rows: pd.DataFrame, name: str, share: float) -> pd.DataFrame:
    """Return the rows with so few of a class that they are this share of all, always the same ones.

    Raises:
        ValueError: there is no such class.
    """
    is_rare = rows["class"] == name
    if not is_rare.any():
        raise ValueError(f"--rare {name}: the classes are {', '.join(sorted(rows['class'].unique()))}")
    count = round(share / (1 - share) * (~is_rare).sum())
    return pd.concat([rows[~is_rare], rows[is_rare].sample(count, random_state=0)]).sort_index()


def class_and_share(text: str) -> tuple[str, float]:
    """Read `bees=0.05`."""
    name, _, share = text.rpartition("=")
    return name, float(share)


def measured(name: str, wanted: argparse.Namespace, folder: Path) -> Iterator[tuple[str, list[dict[str, float]]]]:
    """Yield every recipe with the figures of its trials on an experiment's training images."""
    found = experiment(name)
    plain = found.strategies[wanted.recipe]
    if wanted.epochs is not None:
        last = list(plain.stages)[-1]
        plain = replace(plain, stages={**plain.stages, last: replace(plain.stages[last], epochs=wanted.epochs)})
    images = training_images(found, plain, folder, wanted)
    repeats = -(-wanted.trials // FOLDS)
    cutter = RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=repeats, random_state=0)
    folds = list(cutter.split(images.rows, images.labels))[: wanted.trials]
    for recipe, strategy in chosen(recipes(plain), wanted.ingredients).items():
        yield recipe, [trial(strategy, images, number, fold, folder) for number, fold in enumerate(folds)]


def table(name: str, of_recipes: dict[str, list[dict[str, float]]], note: str) -> result.Table:
    """Make a table with a row for each ingredient: its figures, and its paired difference from the plain recipe."""
    plain, rows = pd.DataFrame(of_recipes[PLAIN]), []
    for recipe, trials in of_recipes.items():
        found = pd.DataFrame(trials)
        cells = [recipe, f"{found['accuracy'].mean():.2%}"]
        metrics = ("accuracy", "balanced_accuracy")
        cells += ["" if recipe == PLAIN else _paired((found[key] - plain[key]).to_numpy()) for key in metrics]
        cells += [f"{found[key].mean():.3f}" for key in ("auroc", "log_loss", "ece")]
        rows.append([*cells, result.seconds(statistics.mean(found["seconds"]))])
    columns = [
        "recipe",
        "accuracy",
        "difference, points",
        "of balanced accuracy",
        "AUROC",
        "log loss",
        "ECE",
        "a trial",
    ]
    return result.Table(f"Recipes on {name}", columns, rows, note)


def _paired(differences_T: np.ndarray) -> str:
    """Write a mean difference with its interval, corrected for folds that share training images."""
    low, high = over_trials(differences_T, test_to_train=1 / (FOLDS - 1))
    return f"{100 * differences_T.mean():+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


def main(names: Sequence[str] = ("solar_cells", "hymenoptera")) -> None:
    """Measure every ingredient on every experiment."""
    parser = result.options(__doc__.partition(".")[0])
    parser.add_argument("names", nargs="*", default=list(names), help="experiments of conf/")
    parser.add_argument("--data", type=Path, help="the archive hymenoptera_data.zip, if it cannot be downloaded")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--recipe", default="fine_tuning", help="the strategy that ingredients are added to")
    parser.add_argument("--ingredients", nargs="+", help="only these, as their rows are called")
    parser.add_argument("--epochs", type=int, help="of its last stage; by default those of the experiment")
    parser.add_argument("--rare", type=class_and_share, help="a class and the share that it is thinned to: bees=0.05")
    parser.add_argument("--images", type=int, help="training images; by default all")
    wanted = result.parse(parser, trials=2, epochs=1, images=60)
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for name in wanted.names:
        found[name] = {}
        with tempfile.TemporaryDirectory() as folder:
            for recipe, trials in measured(name, wanted, Path(folder)):
                found[name][recipe] = trials
                report = result.write("ingredients", wanted, {"experiments": found})
        table(name, found[name], result.made_on(report)).show()


if __name__ == "__main__":
    main()
