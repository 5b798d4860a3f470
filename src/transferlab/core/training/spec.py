"""Defines what goes into a trial and what comes out: plain values that survive a pickle, so any launcher can run it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from transferlab.core import metrics
from transferlab.core.errors import MendableError
from transferlab.core.loading.feature_cache import FeatureCacheConfig
from transferlab.core.loading.images import Split
from transferlab.core.metrics import Metric
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.runtime.compute import Compute
from transferlab.core.runtime.seeding import derive
from transferlab.core.strategies.strategy import Strategy
from transferlab.core.training.history import CostRow, HistoryRow, StepRow


class UndefinedMetricError(MendableError):
    """Training is to go by a metric that the validation images do not define."""


@dataclass(frozen=True)
class TrialSpec:
    """Everything a trial needs.

    Attributes:
        name: of the strategy, for the tables.
        strategy: model, stages, selection rule.
        initial: the network before training.
        train: the training split.
        held_out: the split that is evaluated after each epoch: validation (which may decide), test (if nothing is
            decided by it), or None.
        trial: its number, from 0.
        seed: of the experiment; the trial's own seed follows from both.
        compute: device, precision, threads.
        keeping: how the features of frozen layers are cached.
        metric: what decides during training, where anything does.
    """

    name: str
    strategy: Strategy
    initial: Checkpoint
    train: Split
    held_out: Split | None
    trial: int
    seed: int
    compute: Compute
    keeping: FeatureCacheConfig = field(default_factory=FeatureCacheConfig)
    metric: Metric = "accuracy"

    def __post_init__(self) -> None:
        if self.strategy.decides and (self.held_out is None or self.held_out.name != "validation"):
            seen = f"the {self.held_out.name} split" if self.held_out else "no held-out split"
            raise ValueError(f"strategies.{self.name} decides by validation figures and was given {seen}")
        if self.held_out and self.decides_by == "auroc":
            self._check_all_classes(self.held_out)

    def _check_all_classes(self, held_out: Split) -> None:
        """Check that the AUROC is defined."""
        missing = [name for k, name in enumerate(self.initial.header.classes) if k not in held_out.labels]
        if missing:
            raise UndefinedMetricError(
                f"strategies.{self.name} goes by the {metrics.title('auroc')} of validation images (report.metric), "
                f"which needs some of every class: trial {self.trial + 1} has none of {missing[0]!r}. Enlarge "
                "dataset.split.validation, or choose another metric"
            )

    @property
    def decides_by(self) -> Metric | None:
        """The metric, if it decides anything during training; else a trial does not depend on it."""
        return self.strategy.decides_by(self.metric)

    def without_weights(self) -> TrialSpec:
        """Return the trial with an initial model that has no tensors, which are most of what it holds."""
        return replace(self, initial=replace(self.initial, tensors={}))

    @property
    def initial_seed(self) -> int:
        """Seed of what is drawn before training: the trial's own, or that of trial 0 where all begin alike."""
        return derive(self.seed, "trial", 0) if self.strategy.begins_alike else self.trial_seed

    @property
    def trial_seed(self) -> int:
        """Seed of everything that differs between trials; the same for all strategies, so that trials are paired."""
        return derive(self.seed, "trial", self.trial)


@dataclass(frozen=True)
class TrialResult:
    """What a trial leaves: its checkpoint, and rows for the tables `history`, `steps` and `cost`."""

    checkpoint: Checkpoint
    history: list[HistoryRow]
    steps: list[StepRow]
    cost: CostRow
