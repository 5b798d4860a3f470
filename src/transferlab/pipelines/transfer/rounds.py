"""The node that trains all strategies in rounds, until the best is known (`training.trials: {stop: sequential}`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from transferlab.config.schema import Training
from transferlab.core.data.store import ImageStore
from transferlab.core.evaluation import predictions
from transferlab.core.evaluation.contributions import Outcomes
from transferlab.core.evaluation.sequential import Look, Race, SequentialTrials
from transferlab.core.loading.feature_cache import FeatureCache
from transferlab.core.metrics import LOWER_IS_BETTER, Metric
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.runtime.device import apply, resolve
from transferlab.pipelines.transfer import jobs
from transferlab.pipelines.transfer.jobs import Job
from transferlab.pipelines.transfer.reuse import stacked
from transferlab.reporting.wording import amount, enumerate_words, title

logger = logging.getLogger(__name__)
OUTPUTS = ("checkpoints", "history", "steps", "cost", "fingerprints")


def train_in_rounds(
    strategies: Sequence[str],
    training: Training,
    metric: Metric,
    index: pd.DataFrame,
    image_store: Mapping[str, ImageStore],
    feature_cache: Path,
    **of_strategies: Any,
) -> tuple[Any, ...]:
    """Train a round of every strategy that may be the best, test it, and decide; again and again.

    Args:
        strategies: their names.
        training: settings; `trials` is a `SequentialTrials`.
        metric: that decides.
        index: all images.
        image_store: the images.
        feature_cache: the folder that caches features.
        of_strategies: `jobs.OF_STRATEGY` of each strategy, and `earlier_trials`, by the names of their datasets.

    Returns:
        `OUTPUTS` of each strategy in turn, then the table `rounds`: a row per look and pair.
    """
    rule = training.trials
    assert isinstance(rule, SequentialTrials)  # noqa: S101 - the pipeline is made by the same parameter
    every = jobs.of_strategies(strategies, training, metric, (index, image_store), feature_cache, of_strategies)
    by_name = {job.name: job for job in every}
    race = Race(strategies, rule, metric in LOWER_IS_BETTER)
    rounds = {name: [] for name in strategies}  # type: ignore[var-annotated]
    scores = {name: np.empty(0) for name in strategies}
    looks = rule.looks(len(strategies))
    for first, trials in pairwise((0, *looks)):
        running = [by_name[name] for name in race.running]
        begun = jobs.begin(running, range(first, trials))
        for job in running:
            trained = job.end(begun[job.name])
            rounds[job.name].append(trained)
            scores[job.name] = np.append(scores[job.name], _scores(job, trained[0], metric))
        for line in _told(race.look(scores), race, metric, trials):
            logger.info("%s", line)
        if not race.running:
            break
    outputs = [output for name in strategies for output in stacked(rounds[name])]
    return (*outputs, pd.DataFrame(race.looks, columns=Look._fields))


def _scores(job: Job, checkpoints: Mapping[int, Checkpoint], metric: str) -> NDArray[np.float64]:
    """Test trials; return the metric of each. The node `evaluate` will find the same."""
    if not checkpoints:
        return np.empty(0)
    machine = apply(resolve(job.training.compute))
    cache = FeatureCache(job.feature_cache, job.training.features)
    found = predictions.of_trials(job.name, job.strategy, checkpoints, job.index, job.stores, machine, cache)
    scores: NDArray[np.float64] = np.nanmean(Outcomes.of(found).contributions(metric), axis=1)
    return scores


def _told(looks: Sequence[Look], race: Race, metric: str, trials: int) -> list[str]:
    """Say what a look after so many trials has decided, and who goes on."""
    said = [
        f"after {trials} trials, {title(look.strategy)} and {title(look.versus)} are told apart: "
        f"{amount(look.difference, metric)}"
        for look in looks
        if look.decided
    ]
    if race.running and trials < race.rule.at_most:
        said.append(f"after {trials} trials, {enumerate_words(list(map(title, race.running)))} go on")
    return said
