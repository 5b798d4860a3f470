"""Defines what goes into a trial and what comes out: plain values that survive a pickle, so any launcher can run it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from transferlab.core.loading.feature_cache import FeatureCacheConfig
from transferlab.core.loading.images import Split
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.runtime.compute import Compute
from transferlab.core.runtime.seeding import derive
from transferlab.core.strategies.strategy import Strategy
from transferlab.core.training.history import CostRow, HistoryRow, StepRow


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

    def __post_init__(self) -> None:
        if self.strategy.decides and (self.held_out is None or self.held_out.name != "validation"):
            seen = f"the {self.held_out.name} split" if self.held_out else "no held-out split"
            raise ValueError(f"strategies.{self.name} decides by validation figures and was given {seen}")

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
