"""The nodes of a strategy: each parses its parameters and calls the core."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from transferlab.config import parse, schema
from transferlab.console import progress
from transferlab.console.errors import UserError
from transferlab.core.data import subsets as subsets_module
from transferlab.core.data.store import ImageStore
from transferlab.core.evaluation import metrics
from transferlab.core.evaluation import predictions as predictions_module
from transferlab.core.evaluation.predictions import predict_split
from transferlab.core.launch.trials import train_trials
from transferlab.core.loading.images import Split
from transferlab.core.models import factory
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.models.forward import EVALUATION_BATCH
from transferlab.core.runtime.device import choose
from transferlab.core.runtime.memory import memory_explained
from transferlab.core.runtime.seeding import derive
from transferlab.core.strategies import summary
from transferlab.core.strategies.strategy import Strategy
from transferlab.core.training.spec import TrialSpec
from transferlab.core.transforms.view import View
from transferlab.datasets.checkpoints import StoredTrials
from transferlab.reporting.wording import count

logger = logging.getLogger(__name__)
Parameters = dict[str, Any]
Stores = dict[str, ImageStore]


def build_model(strategy: Parameters, training: Parameters, statistics: Parameters) -> tuple[Checkpoint, pd.DataFrame]:
    """The network before training (as trial 0 begins), and its summary table."""
    settings = parse.read(Strategy, strategy)
    seed = parse.read(schema.Training, training, "training").seed
    checkpoint = factory.initial(
        settings.model, settings.input, statistics["classes"], statistics, derive(seed, "trial", 0)
    )
    return checkpoint, summary.summary(settings, checkpoint)


def train(
    name: str,
    strategy: Parameters,
    training: Parameters,
    initial_model: Checkpoint,
    index: pd.DataFrame,
    image_store: Stores,
    feature_cache: Path,
    unfinished_trials: Path,
) -> tuple[dict[int, Checkpoint], pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Train all trials, or go on with those a killed run left: checkpoints, and the tables history, steps, cost."""
    settings, common = parse.read(Strategy, strategy), parse.read(schema.Training, training, "training")
    store = store_for(factory.view_in(initial_model), image_store)
    held_out = "test" if common.test_curve and not settings.decides else "validation"
    if settings.decides and not (index["split"] == "validation").any():
        raise parse.ConfigError(
            f"strategies.{name} decides by a validation split and there are no validation images: "
            "set dataset.split.validation, e.g. to 0.15"
        )
    machine = choose(common.compute)
    if settings.stages:
        kind, threads = machine.device.type, count(machine.threads, "thread")
        logger.info("%s: training on %s (%s), %s", name, kind, machine.device_name, threads)
    train_split, curve = split_of(index, store, "train"), split_of(index, store, held_out) or None
    specs = [
        TrialSpec(
            name, settings, initial_model, train_split, curve, number, common.seed, common.compute, common.features
        )
        for number in range(common.trials)
    ]
    with progress.trials(name, common.trials) as report:
        results = train_trials(specs, feature_cache, report, unfinished_trials)
    checkpoints = {number: result.checkpoint for number, result in results.items()}
    history = pd.DataFrame([row for result in results.values() for row in result.history])
    steps = pd.DataFrame([row for result in results.values() for row in result.steps], columns=STEP_COLUMNS)
    return checkpoints, history, steps, pd.DataFrame([result.cost for result in results.values()])


STEP_COLUMNS = ["strategy", "trial", "stage", "epoch", "step", "learning_rate", "loss"]


def store_for(view: View, image_store: Stores) -> ImageStore:
    """The images at the resize of a view.

    Raises:
        UserError: they were decoded for other parameters.
    """
    if view.stored_as.key not in image_store:
        raise UserError(
            f"no images are stored as {view.stored_as.key} ({', '.join(image_store)} are): "
            "run `kedro run --pipeline=data` with the same --env and --params"
        )
    return image_store[view.stored_as.key]


def split_of(index: pd.DataFrame, store: ImageStore, name: str) -> Split:
    """The images of a split.

    Raises:
        StoreError: the store was made by another run than the index, and lacks some.
    """
    of_split = (index["split"] == name).to_numpy()
    rows = store.rows_of(index["pixel_sha256"])[of_split]
    return Split(name, store, rows, index["label"].to_numpy()[of_split])


def evaluate_trials(
    name: str,
    strategy: Parameters,
    training: Parameters,
    checkpoints: StoredTrials,
    index: pd.DataFrame,
    image_store: Stores,
    feature_cache: Path,
    experiment: str,
    run_id: str,
    dataset: Parameters,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """See the test split, once: predictions, metrics, per-class figures and confusion counts of every trial."""
    settings = parse.read(Strategy, strategy)
    common = parse.read(schema.Training, training, "training")
    machine = choose(common.compute)
    smaller = machine.smaller_micro_batch(EVALUATION_BATCH)
    subsets = parse.read(schema.Dataset, dataset, "dataset").subsets
    where = {"experiment": experiment, "strategy": name}
    origin = {"run_id": run_id, "checkpoint_version": checkpoints.version}
    tables: tuple[list[pd.DataFrame], ...] = ([], [], [], [])
    for trial, checkpoint in checkpoints.items():
        classes = checkpoint.header["classes"]
        split = split_of(index, store_for(factory.view_in(checkpoint), image_store), "test")
        with memory_explained(f"strategies.{name}: evaluation of trial {trial + 1}", smaller):
            p_NK = predict_split(checkpoint, settings, split, machine, feature_cache, common.features)
        paths = list(index.loc[index["split"] == "test", "path"])
        key = {**where, "trial": trial}
        of_test: dict[str, Any] = {**key, "split": "test", "selection": checkpoint.header["selection"], **origin}
        parts = subsets_module.parts(paths, subsets)
        measured = {part: metrics.scores(p_NK[on_N], split.labels[on_N]) for part, on_N in parts.items()}
        rows = [
            predictions_module.table(p_NK, name, trial, paths, split.labels, classes),
            pd.DataFrame(
                {
                    **key,
                    "split": [part for part, scores in measured.items() for _ in scores],
                    "selection": checkpoint.header["selection"],
                    **origin,
                    "metric": [metric for scores in measured.values() for metric in scores],
                    "value": [value for scores in measured.values() for value in scores.values()],
                }
            ),
            metrics.per_class(p_NK, split.labels, classes).assign(**of_test),
            metrics.confusion(p_NK, split.labels, classes).assign(**of_test),
        ]
        for table, row in zip(tables, rows, strict=True):
            table.append(row)
    predictions, scored, per_class, confusion = (pd.concat(table, ignore_index=True) for table in tables)
    return predictions, scored, per_class, confusion
