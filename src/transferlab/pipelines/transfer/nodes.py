"""The nodes of a strategy: each calls the core with typed parameters."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from transferlab.config.schema import Dataset, Predict, Training
from transferlab.core.evaluation.tables import EvaluationTables, evaluate_trials
from transferlab.core.evaluation.tested import Evaluation
from transferlab.core.loading.feature_cache import FeatureCache
from transferlab.core.metrics import Metric
from transferlab.core.models import factory
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.runtime.device import apply, resolve
from transferlab.core.runtime.seeding import derive
from transferlab.core.strategies import summary
from transferlab.core.strategies.strategy import Strategy
from transferlab.core.training.objective import check_classes
from transferlab.datasets.checkpoints import StoredTrials
from transferlab.pipelines.transfer import jobs
from transferlab.pipelines.transfer.jobs import Begun, Job, Stores
from transferlab.reporting.wording import count

logger = logging.getLogger(__name__)


def build_model(strategy: Strategy, training: Training, statistics: dict[str, Any]) -> tuple[Checkpoint, pd.DataFrame]:
    """Build the network as trial 0 begins, and a summary of its layers."""
    for name, stage in strategy.stages.items():
        check_classes(stage.class_weights, statistics["classes"], name)
    seed = derive(training.seed, "trial", 0)
    keep = strategy.head == "classifier"
    checkpoint = factory.initial(strategy.model, strategy.input, statistics["classes"], statistics, seed, keep)
    return checkpoint, summary.summary(strategy, checkpoint)


def train(
    name: str,
    strategy: Strategy,
    training: Training,
    metric: Metric,
    initial_model: Checkpoint,
    index: pd.DataFrame,
    image_store: Stores,
    feature_cache: Path,
    earlier_trials: Mapping[str, Any],
    queue: Mapping[str, Begun] | None = None,
) -> tuple[dict[int, Checkpoint], pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Train all trials of a strategy, reuse those an earlier run finished, and go on with those that a killed run left.

    Where they are in a queue, wait for them.

    Returns:
        Checkpoints by trial; the tables history, steps and cost; what each trial depends on.
    """
    earlier = (earlier_trials[each.format(name)] for each in jobs.EARLIER)
    job = Job(name, strategy, training, metric, initial_model, index, image_store, feature_cache, *earlier)
    begun = (queue or {}).get(name) or job.begin(range(training.most_trials))
    checkpoints, tables, done = job.end(begun)
    return checkpoints, tables["history"], tables["steps"], tables["cost"], done


def queue_trials(
    strategies: Sequence[str],
    training: Training,
    metric: Metric,
    index: pd.DataFrame,
    image_store: Stores,
    feature_cache: Path,
    **of_strategies: Any,
) -> dict[str, Begun]:
    """Begin the trials of all strategies on a cluster, at the same time; the nodes `train` wait for their own.

    Args:
        strategies: their names.
        training: settings.
        metric: that decides.
        index: all images.
        image_store: the images.
        feature_cache: the folder that caches features.
        of_strategies: `jobs.OF_STRATEGY` of each strategy, and `earlier_trials`, by the names of their datasets.
    """
    every = jobs.of_strategies(strategies, training, metric, (index, image_store), feature_cache, of_strategies)
    return jobs.begin(every, range(training.most_trials))


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
    tested = count(int((index["split"] == "test").sum()), "test image")
    logger.info("%s: testing %s on %s", name, count(len(checkpoints), "trial"), tested)
    return evaluate_trials(checkpoints, evaluation)
