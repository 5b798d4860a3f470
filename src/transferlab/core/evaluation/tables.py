"""Tables of what a strategy's trained trials do on the test split: the one time that test images are seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from transferlab.core.data import subsets
from transferlab.core.data.split.index import splits_of_trial
from transferlab.core.data.store import ImageStore
from transferlab.core.evaluation import metrics, predictions
from transferlab.core.loading.feature_cache import FeatureCache
from transferlab.core.loading.splits import split_of, store_for
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.models.forward import EVALUATION_BATCH
from transferlab.core.runtime.device import Machine
from transferlab.core.runtime.memory import memory_explained
from transferlab.core.strategies.strategy import Strategy


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How the trials of a strategy are tested.

    Attributes:
        name: of the strategy.
        strategy: which of its layers no stage has trained decides what is shared by the trials.
        index: all images, with class, label and split.
        stores: the image stores by the key of their resize.
        subsets: parts of the test split that are also measured alone, as patterns of paths by name.
        machine: where to compute.
        feature_cache: keeps the features of frozen layers.
        experiment: its name, a column of the tables.
        run_id: of the run that evaluates, a column of the tables.
        checkpoint_version: of the checkpoints, a column of the tables.
    """

    name: str
    strategy: Strategy
    index: pd.DataFrame
    stores: Mapping[str, ImageStore]
    subsets: Mapping[str, str]
    machine: Machine
    feature_cache: FeatureCache
    experiment: str
    run_id: str
    checkpoint_version: str | None


class EvaluationTables(NamedTuple):
    """The tables of an evaluation, rows of all trials.

    Attributes:
        predictions: a row per image, with the probability of every class.
        metrics: a row per metric, of the test split and of each of its subsets.
        per_class: a row per class.
        confusion: a row per pair of true and predicted class that occurs.
    """

    predictions: pd.DataFrame
    metrics: pd.DataFrame
    per_class: pd.DataFrame
    confusion: pd.DataFrame


def evaluate_trials(checkpoints: Mapping[int, Checkpoint], evaluation: Evaluation) -> EvaluationTables:
    """Predict the test split with every trial, one after the other, and measure the predictions.

    Raises:
        DeviceMemoryError: the device has too little memory.
        NoStoreError: the images were decoded for other parameters.
    """
    of_trials = [_evaluate(number, checkpoint, evaluation) for number, checkpoint in checkpoints.items()]
    return EvaluationTables(*(pd.concat(tables, ignore_index=True) for tables in zip(*of_trials, strict=True)))


def _evaluate(trial: int, checkpoint: Checkpoint, how: Evaluation) -> EvaluationTables:
    classes = checkpoint.header.classes
    split = split_of(how.index, store_for(checkpoint.header.view, how.stores), "test", trial)
    smaller = how.machine.smaller_micro_batch(EVALUATION_BATCH)
    with memory_explained(f"strategies.{how.name}: evaluation of trial {trial + 1}", smaller):
        p_NK = predictions.predict_split(checkpoint, how.strategy, split, how.machine, how.feature_cache)
    paths = list(how.index.loc[splits_of_trial(how.index, trial) == "test", "path"])
    of_test: dict[str, Any] = {
        "experiment": how.experiment,
        "strategy": how.name,
        "trial": trial,
        "split": "test",
        "selection": checkpoint.header.selection,
        "run_id": how.run_id,
        "checkpoint_version": how.checkpoint_version,
    }
    confusion = metrics.confusion(p_NK, split.labels, classes)
    return EvaluationTables(
        predictions.table(p_NK, how.name, trial, paths, split.labels, classes),
        _measured(p_NK, split.labels, subsets.parts(paths, how.subsets), of_test),
        metrics.per_class(p_NK, split.labels, classes).assign(**of_test),
        confusion[confusion["count"] > 0].assign(**of_test),  # of 500 classes, 250,000 pairs
    )


def _measured(
    p_NK: NDArray[np.float64],
    truth_N: NDArray[np.int64],
    parts: Mapping[str, NDArray[np.bool_]],
    of_test: Mapping[str, Any],
) -> pd.DataFrame:
    """Tabulate the scores of the test split and of each of its parts."""
    rows = [
        {**of_test, "split": part, "metric": metric, "value": value}
        for part, on_N in parts.items()
        for metric, value in metrics.scores(p_NK[on_N], truth_N[on_N]).items()
    ]
    return pd.DataFrame(rows)
