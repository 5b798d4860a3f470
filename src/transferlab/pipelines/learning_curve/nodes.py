"""The nodes of the learning curve: parts of the training images, trainings on them, tables, a figure and a page."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from transferlab.config.schema import Dataset, LearningCurve, Report, Training
from transferlab.console import progress
from transferlab.console.errors import UserError
from transferlab.core.data.split.index import as_first_trial, split_columns
from transferlab.core.data.split.training_subsets import training_subsets
from transferlab.core.data.store import ImageStore
from transferlab.core.evaluation import learning_curve
from transferlab.core.evaluation import predictions as predictions_of
from transferlab.core.evaluation.contributions import Outcomes
from transferlab.core.evaluation.design import Design
from transferlab.core.launch.trials import train_trials
from transferlab.core.loading.feature_cache import FeatureCache
from transferlab.core.loading.splits import part_of, split_of, store_for
from transferlab.core.metrics import Metric
from transferlab.core.models import factory
from transferlab.core.runtime.device import apply, resolve
from transferlab.core.runtime.seeding import derive
from transferlab.core.strategies.strategy import Strategy
from transferlab.core.training.spec import TrialSpec
from transferlab.core.training.state import state_path
from transferlab.reporting.page.learning_curve_page import render

logger = logging.getLogger(__name__)
Stores = Mapping[str, ImageStore]


def draw_subsets(index: pd.DataFrame, dataset: Dataset, settings: LearningCurve) -> pd.DataFrame:
    """Draw parts of the training images: the same for every strategy."""
    subsets = training_subsets(index, settings.draws, settings.halvings, dataset.split.seed)
    sizes = subsets["asked"].unique()
    logger.info("learning curve: %d draws of %s training images", settings.draws, ", ".join(map(str, sizes)))
    return subsets


def train_on_parts(
    name: str,
    strategy: Strategy,
    training: Training,
    metric: Metric,
    statistics: dict[str, Any],
    index: pd.DataFrame,
    image_store: Stores,
    subsets: pd.DataFrame,
    feature_cache: Path,
    unfinished_parts: Path,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train a strategy on every part, or go on with what a killed run left, and test it on the test split of trial 0.

    Returns:
        The tables predictions and cost; a trial is the number of a part.
    """
    index = as_first_trial(index)
    seed, keep = derive(training.seed, "trial", 0), strategy.head == "classifier"
    initial = factory.initial(strategy.model, strategy.input, statistics["classes"], statistics, seed, keep)
    store = store_for(initial.header.view, image_store)
    whole = TrialSpec(
        name,
        strategy,
        initial,
        split_of(index, store, "train", 0),
        split_of(index, store, "validation", 0) if strategy.decides else None,  # decisions see all of it
        0,
        training.seed,
        training.compute,
        training.features,
        metric,
    )
    specs = list(_specs(whole, index.loc[index["split"] == "train", "path"], subsets))
    if training.fresh:
        for spec in specs:
            state_path(unfinished_parts, spec.trial).unlink(missing_ok=True)
    with progress.trials(name, len(specs)) as report:
        trained = train_trials(specs, feature_cache, report, unfinished_parts)
    checkpoints = {trial: result.checkpoint for trial, result in trained.items()}
    cache = FeatureCache(feature_cache, training.features)
    machine = apply(resolve(training.compute))
    found = predictions_of.of_trials(name, strategy, checkpoints, index, image_store, machine, cache)
    return found, pd.DataFrame([result.cost for result in trained.values()])


def _specs(whole: TrialSpec, paths: pd.Series[str], subsets: pd.DataFrame) -> Iterator[TrialSpec]:
    """Yield what each part is trained by, given what all training images would be trained by, and their paths."""
    for trial in subsets["trial"].unique():
        part = subsets.loc[subsets["trial"] == trial, "path"]
        yield replace(whole, train=part_of(whole.train, paths.isin(part).to_numpy()), trial=int(trial))


def tabulate(
    subsets: pd.DataFrame, index: pd.DataFrame, report: Report, *predictions: pd.DataFrame
) -> learning_curve.CurveTables:
    """Measure each size by the metric that decides, and extrapolate."""
    one_split = index.drop(columns=split_columns(index)[1:])
    design = Design.of_index(one_split, report.metric, None)
    measured = [learning_curve.Measured.of(Outcomes.of(table), subsets, design) for table in predictions]
    tables = learning_curve.curve_tables(measured)
    if tables.points.empty:
        lost = ", ".join(f"{each.strategy}: {each.diverged} of {each.trainings}" for each in measured)
        raise UserError(
            f"the learning curve has no draw of training images whose trainings all finished (diverged: {lost}): train "
            "again with a lower optimizer.lr, a warm-up or clip: {by: norm, at: 1}"
        )
    return tables


def write_page(
    experiment: str,
    report: Report,
    run_id: str,
    points: pd.DataFrame,
    fits: pd.DataFrame,
    crossings: pd.DataFrame,
    figure: bytes,
) -> str:
    """Write the page."""
    return render({"experiment": experiment, "title": report.title, "run_id": run_id}, points, fits, crossings, figure)
