"""Tables of what a strategy's trained trials do on the test split: the one time that test images are seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from transferlab.core import metrics
from transferlab.core.calibration.reference import Reference, can_be_together
from transferlab.core.data import subsets
from transferlab.core.evaluation import predictions, soup, together
from transferlab.core.evaluation.coverage import COLUMNS as COVERAGE
from transferlab.core.evaluation.coverage import coverage
from transferlab.core.evaluation.design import Design
from transferlab.core.evaluation.tested import Evaluation, Tested, run_tests
from transferlab.core.models.checkpoint import Checkpoint


class EvaluationTables(NamedTuple):
    """The tables of an evaluation, rows of all trials.

    Attributes:
        predictions: a row per image, with the probability of every class.
        metrics: a row per metric, of the test split and of each of its subsets.
        per_class: a row per class.
        confusion: a row per pair of true and predicted class that occurs.
        coverage: of each trial, and of all averaged, how often prediction sets hold the truth; no row where there is
            no validation split. Of several trials that are averaged, `trial` is missing.
        together: what several trials get together, a row per metric.
        references: by trial, what later predictions are calibrated on; none where there is no validation split.
    """

    predictions: pd.DataFrame
    metrics: pd.DataFrame
    per_class: pd.DataFrame
    confusion: pd.DataFrame
    coverage: pd.DataFrame
    together: pd.DataFrame
    references: dict[int, Reference]


def evaluate_trials(checkpoints: Mapping[int, Checkpoint], evaluation: Evaluation) -> EvaluationTables:
    """Predict the test split with every trial, one after the other, and measure the predictions.

    Raises:
        DeviceMemoryError: the device has too little memory.
        NoStoreError: the images were decoded for other parameters.
    """
    trials = [run_tests(number, checkpoint, evaluation) for number, checkpoint in checkpoints.items()]
    of_trials = zip(*(_tables(one, evaluation) for one in trials), strict=True)
    predicted, measured, per_class, confusion = (pd.concat(tables, ignore_index=True) for tables in of_trials)
    return EvaluationTables(
        predicted,
        measured,
        per_class,
        confusion,
        coverage=_coverage(trials, evaluation),
        together=_together(checkpoints, trials, evaluation),
        references={one.trial: one.reference for one in trials if one.reference},
    )


def _shared(trial: Tested, how: Evaluation) -> dict[str, Any]:
    """Return the columns that say where rows come from."""
    return {
        "experiment": how.experiment,
        "strategy": how.name,
        "trial": trial.trial,
        "split": "test",
        "selection": trial.selection,
        "run_id": how.run_id,
        "checkpoint_version": how.checkpoint_version,
    }


def _tables(one: Tested, how: Evaluation) -> tuple[pd.DataFrame, ...]:
    """Return predictions, metrics, per_class and confusion of one trial."""
    of_test = _shared(one, how)
    return (
        predictions.table(one.p_NK, how.name, one.trial, one.paths, one.truth_N, one.classes),
        _measured(one.p_NK, one.truth_N, subsets.parts(one.paths, how.subsets), of_test),
        metrics.per_class(one.p_NK, one.truth_N, one.classes).assign(**of_test),
        metrics.confusion(one.p_NK, one.truth_N, one.classes).assign(**of_test),
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


def _coverage(trials: Sequence[Tested], how: Evaluation) -> pd.DataFrame:
    """Tabulate the prediction sets of every trial and, where they share validation and test images, of their mean."""
    predictors = [[one] for one in trials if one.reference]
    if together.can_be_averaged(trials) and len(predictors) == len(trials):
        predictors.append(list(trials))
    tables = [pd.DataFrame(columns=["strategy", "trial", "members", *COVERAGE])]
    for members in predictors:
        references = [one.reference for one in members if one.reference]
        distances = [one.distance_N for one in members if one.distance_N is not None]
        if can_be_together(references):
            first = members[0]
            table = coverage(references, together.mean_of(members), distances, first.truth_N, first.classes, how.level)
            trial = first.trial if len(members) == 1 else None
            tables.append(table.assign(**{**_shared(first, how), "trial": trial}, members=len(members)))
    return pd.concat(tables[1:] or tables, ignore_index=True).astype({"trial": "Int64"})


def _together(checkpoints: Mapping[int, Checkpoint], trials: Sequence[Tested], how: Evaluation) -> pd.DataFrame:
    """Tabulate what the trials get together; no row where there is one, or they tested different images."""
    if not together.can_be_averaged(trials):
        return pd.DataFrame(columns=["strategy", *together.COLUMNS])
    design = Design.of_index(how.index, "accuracy", None)
    tables = [together.measured(together.ENSEMBLE, len(trials), together.mean_of(trials), trials, design)]
    if soup.can_be_cooked(trials, how):
        checkpoint, members = soup.cook(checkpoints, trials, how)
        split = how.split(checkpoint, "test", trials[0].trial)
        p_NK, _ = predictions.predict_split(checkpoint, how.strategy, split, how.machine, how.feature_cache)
        tables.append(together.measured(together.SOUP, len(members), p_NK, trials, design))
    return pd.concat(tables, ignore_index=True).assign(**_shared(trials[0], how)).drop(columns="trial")
