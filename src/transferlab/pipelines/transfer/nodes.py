"""The nodes of a strategy: each calls the core with typed parameters."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from transferlab.config.schema import Dataset, Training
from transferlab.console import progress
from transferlab.console.errors import UserError
from transferlab.core.data.store import ImageStore
from transferlab.core.evaluation import tables
from transferlab.core.launch.trials import train_trials
from transferlab.core.loading.feature_cache import FeatureCache
from transferlab.core.loading.splits import split_of, store_for
from transferlab.core.models import factory
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.runtime.device import apply, resolve
from transferlab.core.runtime.seeding import derive
from transferlab.core.strategies import summary
from transferlab.core.strategies.strategy import Strategy
from transferlab.core.training.spec import TrialSpec
from transferlab.datasets.checkpoints import StoredTrials
from transferlab.reporting.wording import count

logger = logging.getLogger(__name__)
Stores = Mapping[str, ImageStore]
STEP_COLUMNS = ["strategy", "trial", "stage", "epoch", "step", "learning_rate", "loss"]


def build_model(strategy: Strategy, training: Training, statistics: dict[str, Any]) -> tuple[Checkpoint, pd.DataFrame]:
    """Build the network as trial 0 begins, and a summary of its layers."""
    seed = derive(training.seed, "trial", 0)
    checkpoint = factory.initial(strategy.model, strategy.input, statistics["classes"], statistics, seed)
    return checkpoint, summary.summary(strategy, checkpoint)


def train(
    name: str,
    strategy: Strategy,
    training: Training,
    initial_model: Checkpoint,
    index: pd.DataFrame,
    image_store: Stores,
    feature_cache: Path,
    unfinished_trials: Path,
) -> tuple[dict[int, Checkpoint], pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Train all trials, or go on with those a killed run left: checkpoints, and the tables history, steps, cost."""
    if strategy.decides and not (index["split"] == "validation").any():
        raise UserError(
            f"strategies.{name} decides by a validation split and there are no validation images: "
            "set dataset.split.validation, e.g. to 0.15"
        )
    store = store_for(initial_model.header.view, image_store)
    held_out = "test" if training.test_curve and not strategy.decides else "validation"
    machine = resolve(training.compute)
    if strategy.stages:
        kind, threads = machine.device.type, count(machine.threads, "thread")
        logger.info("%s: training on %s (%s), %s", name, kind, machine.device_name, threads)
    specs = [
        TrialSpec(
            name,
            strategy,
            initial_model,
            split_of(index, store, "train", number),
            split_of(index, store, held_out, number) or None,
            number,
            training.seed,
            training.compute,
            training.features,
        )
        for number in range(training.trials)
    ]
    with progress.trials(name, training.trials) as report:
        results = train_trials(specs, feature_cache, report, unfinished_trials)
    checkpoints = {number: result.checkpoint for number, result in results.items()}
    history = pd.DataFrame([row for result in results.values() for row in result.history])
    steps = pd.DataFrame([row for result in results.values() for row in result.steps], columns=STEP_COLUMNS)
    return checkpoints, history, steps, pd.DataFrame([result.cost for result in results.values()])


def evaluate(
    name: str,
    strategy: Strategy,
    training: Training,
    dataset: Dataset,
    checkpoints: StoredTrials,
    index: pd.DataFrame,
    image_store: Stores,
    feature_cache: Path,
    experiment: str,
    run_id: str,
) -> tables.EvaluationTables:
    """Test every trial: predictions, metrics, per-class figures and confusion counts."""
    evaluation = tables.Evaluation(
        name=name,
        strategy=strategy,
        index=index,
        stores=image_store,
        subsets=dataset.subsets,
        machine=apply(resolve(training.compute)),
        feature_cache=FeatureCache(feature_cache, training.features),
        experiment=experiment,
        run_id=run_id,
        checkpoint_version=checkpoints.version,
    )
    return tables.evaluate_trials(checkpoints, evaluation)
