"""The nodes of a strategy: each calls the core with typed parameters."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from transferlab.config.schema import Dataset, Predict, Training
from transferlab.console import progress
from transferlab.console.errors import UserError
from transferlab.core.data.store import ImageStore
from transferlab.core.evaluation.tables import EvaluationTables, evaluate_trials
from transferlab.core.evaluation.tested import Evaluation
from transferlab.core.launch.trials import fingerprints, train_trials
from transferlab.core.loading.feature_cache import FeatureCache
from transferlab.core.loading.splits import split_of, store_for
from transferlab.core.models import factory
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.runtime.device import apply, resolve
from transferlab.core.runtime.seeding import derive
from transferlab.core.strategies import summary
from transferlab.core.strategies.strategy import Strategy
from transferlab.core.training.engine import DivergedError
from transferlab.core.training.objective import check_classes
from transferlab.core.training.spec import TrialResult, TrialSpec
from transferlab.datasets.checkpoints import StoredTrials
from transferlab.datasets.finished import FinishedTrials
from transferlab.pipelines.transfer import reuse
from transferlab.reporting.wording import count

logger = logging.getLogger(__name__)
Stores = Mapping[str, ImageStore]


def build_model(strategy: Strategy, training: Training, statistics: dict[str, Any]) -> tuple[Checkpoint, pd.DataFrame]:
    """Build the network as trial 0 begins, and a summary of its layers."""
    for name, stage in strategy.stages.items():
        check_classes(stage.class_weights, statistics["classes"], name)
    seed = derive(training.seed, "trial", 0)
    keep = strategy.head == "classifier"
    checkpoint = factory.initial(strategy.model, strategy.input, statistics["classes"], statistics, seed, keep)
    return checkpoint, summary.summary(strategy, checkpoint)


@dataclass(frozen=True)
class Job:
    """What the training of a strategy needs, whichever trials are trained; the fields are the node's inputs."""

    name: str
    strategy: Strategy
    training: Training
    initial: Checkpoint
    index: pd.DataFrame
    stores: Stores
    feature_cache: Path
    unfinished: Path
    finished: FinishedTrials

    def specs(self, numbers: range) -> list[TrialSpec]:
        """Return the trials with these numbers."""
        if self.strategy.decides and not (self.index["split"] == "validation").any():
            raise UserError(
                f"strategies.{self.name} decides by a validation split and there are no validation images: "
                "set dataset.split.validation, e.g. to 0.15"
            )
        store = store_for(self.initial.header.view, self.stores)
        held_out = "test" if self.training.test_curve and not self.strategy.decides else "validation"
        return [
            TrialSpec(
                self.name,
                self.strategy,
                self.initial,
                split_of(self.index, store, "train", number),
                split_of(self.index, store, held_out, number) or None,
                number,
                self.training.seed,
                self.training.compute,
                self.training.features,
            )
            for number in numbers
        ]

    def train(self, numbers: range) -> tuple[dict[int, Checkpoint], dict[str, pd.DataFrame], dict[str, Any]]:
        """Train trials, reuse those an earlier run finished, and go on with those that a killed run left.

        Returns:
            Checkpoints by trial; the tables history, steps and cost by name; what each trial depends on.
        """
        specs = self.specs(numbers)
        wanted = fingerprints(specs)
        found = reuse.finished(self.name, wanted, self.finished, self.unfinished, self.training.fresh)
        left = [spec for spec in specs if not found or spec.trial not in found.checkpoints]
        is_alone = found is None and numbers.start == 0
        trained = _train(left, self.feature_cache, self.unfinished, is_alone) if left else {}
        checkpoints, tables = reuse.joined(found, trained)
        return checkpoints, tables, {str(number): wanted[number] for number in checkpoints}


def train(
    name: str,
    strategy: Strategy,
    training: Training,
    initial_model: Checkpoint,
    index: pd.DataFrame,
    image_store: Stores,
    feature_cache: Path,
    unfinished_trials: Path,
    finished_trials: FinishedTrials,
) -> tuple[dict[int, Checkpoint], pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Train all trials of a strategy; see `Job`.

    Returns:
        Checkpoints by trial; the tables history, steps and cost; what each trial depends on.
    """
    job = Job(
        name, strategy, training, initial_model, index, image_store, feature_cache, unfinished_trials, finished_trials
    )
    checkpoints, tables, done = job.train(range(training.most_trials))
    return checkpoints, tables["history"], tables["steps"], tables["cost"], done


def _train(
    specs: list[TrialSpec], feature_cache: Path, unfinished_trials: Path, is_alone: bool
) -> dict[int, TrialResult]:
    """Train trials. If all diverge that is an error where these are all there are (`is_alone`), else it is logged."""
    first = specs[0]
    if first.strategy.stages and first.compute.launcher == "processes":  # the nodes of a cluster say it themselves
        machine = resolve(first.compute)
        kind, threads = machine.device.type, count(machine.threads, "thread")
        logger.info("%s: training on %s (%s), %s", first.name, kind, machine.device_name, threads)
    try:
        with progress.trials(first.name, specs[-1].trial + 1) as report:
            return train_trials(specs, feature_cache, report, unfinished_trials)
    except DivergedError:  # train_trials has logged each
        if is_alone:
            raise
        return {}


def evaluate(
    name: str,
    strategy: Strategy,
    training: Training,
    dataset: Dataset,
    predict: Predict,
    checkpoints: StoredTrials,
    index: pd.DataFrame,
    image_store: Stores,
    feature_cache: Path,
    experiment: str,
    run_id: str,
) -> EvaluationTables:
    """Test every trial: predictions, metrics and what else `EvaluationTables` says."""
    evaluation = Evaluation(
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
        level=predict.level,
    )
    return evaluate_trials(checkpoints, evaluation)
