"""What trains a strategy in a run: the trials that an earlier run finished are reused, and the others are launched."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from transferlab.config.schema import Training
from transferlab.console import progress
from transferlab.console.errors import UserError
from transferlab.core.data.store import ImageStore
from transferlab.core.launch.launcher import Launcher
from transferlab.core.launch.trials import fingerprints, queued, train_trials
from transferlab.core.loading.splits import split_of, store_for
from transferlab.core.metrics import Metric
from transferlab.core.models import factory
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.runtime.device import resolve
from transferlab.core.strategies.strategy import Strategy
from transferlab.core.training.engine import DivergedError
from transferlab.core.training.fingerprint import Fingerprint
from transferlab.core.training.spec import TrialResult, TrialSpec
from transferlab.datasets.finished import FinishedTrials, Reusable
from transferlab.pipelines.transfer import reuse
from transferlab.reporting.wording import count

logger = logging.getLogger(__name__)
Stores = Mapping[str, ImageStore]
# What a node that trains several strategies takes of each.
OF_STRATEGY = ("params:strategies.{}", "{}.initial_model")
# What it takes of `earlier_trials`.
EARLIER = ("{}.unfinished_trials", "{}.finished_trials")
# Checkpoints by trial; the tables history, steps and cost by name; what each trial depends on.
Trained = tuple[dict[int, Checkpoint], dict[str, pd.DataFrame], dict[str, Any]]


@dataclass(frozen=True)
class Begun:
    """A strategy whose finished trials have been looked for.

    Attributes:
        wanted: by trial, what its result depends on.
        found: trials that an earlier run finished.
        left: the others.
        is_alone: whether there are no others, of this or an earlier round.
        launch: waits for those that are left, where they are in a queue already.
    """

    wanted: Mapping[int, Fingerprint]
    found: Reusable | None
    left: Sequence[TrialSpec]
    is_alone: bool
    launch: Launcher | None = None


@dataclass(frozen=True)
class Job:
    """What the training of a strategy needs, whichever trials are trained; the fields are the node's inputs."""

    name: str
    strategy: Strategy
    training: Training
    metric: Metric
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
        self._check_initial()
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
                self.metric,
            )
            for number in numbers
        ]

    def _check_initial(self) -> None:
        """Check that the network to begin with is the one that the strategy names now.

        Raises:
            CheckpointError: it is another strategy's, or was made before the model or the input was changed.
        """
        header, model = self.initial.header, self.strategy.model
        statistics = {"mean": header.view.mean, "std": header.view.std}
        view = factory.view_of(model, self.strategy.input, statistics)
        for key, found, wanted in (
            ("model.name", header.model, model.name),
            ("model.pooled", header.pooled, model.pooled),
            ("model.weights", header.weights, model.weights),
            ("input", header.view, view),
        ):
            if found != wanted:
                raise self.initial.unusable(f"it was made with {found}, and strategies.{self.name}.{key} is {wanted}")

    def begin(self, numbers: range) -> Begun:
        """Find which trials an earlier run finished, and which are left to train or to go on with."""
        specs = self.specs(numbers)
        wanted = fingerprints(specs)
        found = reuse.finished(self.name, wanted, self.finished, self.unfinished, self.training.fresh)
        left = [spec for spec in specs if not found or spec.trial not in found.checkpoints]
        if not left:
            progress.reused(self.name)
        return Begun(wanted, found, left, is_alone=found is None and numbers.start == 0)

    def end(self, begun: Begun) -> Trained:
        """Train the trials that are left, or wait for them, and join all."""
        trained = self._trained(begun) if begun.left else {}
        checkpoints, tables = reuse.joined(begun.found, trained)
        return checkpoints, tables, {str(number): begun.wanted[number] for number in checkpoints}

    def _trained(self, begun: Begun) -> dict[int, TrialResult]:
        """Train. If all diverge that is an error where these are all there are, else it is logged."""
        compute, specs = self.training.compute, begun.left
        if self.strategy.stages and compute.launcher == "processes":  # the nodes of a cluster say it themselves
            machine = resolve(compute)
            kind, threads = machine.device.type, count(machine.threads, "thread")
            logger.info("%s: training on %s (%s), %s", self.name, kind, machine.device_name, threads)
        try:
            held_out = specs[0].held_out.name if specs[0].held_out else "validation"
            with progress.trials(self.name, specs[-1].trial + 1, held_out) as report:
                return train_trials(specs, self.feature_cache, report, self.unfinished, begun.launch)
        except DivergedError:  # train_trials has logged each
            if begun.is_alone:
                raise
            return {}


def of_strategies(
    names: Sequence[str],
    training: Training,
    metric: Metric,
    images: tuple[pd.DataFrame, Stores],
    cache: Path,
    own: Mapping[str, Any],
) -> list[Job]:
    """Return what each strategy's training needs, given `OF_STRATEGY` and `earlier_trials` by their names."""
    found = []
    for name in names:
        strategy, initial = (own[each.format(name)] for each in OF_STRATEGY)
        unfinished, finished = (own["earlier_trials"][each.format(name)] for each in EARLIER)
        found.append(Job(name, strategy, training, metric, initial, *images, cache, unfinished, finished))
    return found


def begin(jobs: Sequence[Job], numbers: range) -> dict[str, Begun]:
    """Find which trials of each strategy are left to train; on a cluster begin with all of them, in one queue."""
    found = {job.name: job.begin(numbers) for job in jobs}
    waited_for = [job for job in jobs if found[job.name].left]
    if not waited_for or jobs[0].training.compute.launcher != "ray":
        return found
    most = {name: begun.left[-1].trial + 1 for name, begun in found.items() if begun.left}
    launch = queued(
        [found[job.name].left for job in waited_for],
        jobs[0].feature_cache,
        [job.unfinished for job in waited_for],
        lambda name: progress.lines(name, most[name]),
    )
    return {
        name: replace(begun, left=[spec.without_weights() for spec in begun.left], launch=launch)
        for name, begun in found.items()
    }
