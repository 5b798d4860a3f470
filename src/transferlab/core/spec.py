"""What goes into a trial and what comes out: plain values that survive a pickle, so that any launcher can run it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from transferlab.core.checkpoint import Checkpoint
from transferlab.core.data import Split
from transferlab.core.device import Compute
from transferlab.core.features import Keeping
from transferlab.core.seeding import derive
from transferlab.core.strategy import Strategy


@dataclass(frozen=True)
class Progress:
    """Where a trial is; the figures are None until the epoch's end.

    `together` trials, from `trial` on, are trained in the same steps. `doing` names work beside the steps of an epoch,
    such as computing features; `step` then counts what it counts.
    """

    trial: int
    stage: str
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float | None = None
    accuracy: float | None = None
    held_out_accuracy: float | None = None
    doing: str | None = None
    together: int = 1


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class TrialSpec:
    """Everything a trial needs.

    Attributes:
        name: of the strategy, for the tables.
        strategy: model, stages, selection rule.
        initial: the network before training.
        train: the training split.
        held_out: the split of the curve, evaluated after each epoch: validation (which may decide), test (when nothing
            is decided by it), or None.
        trial: its number, from 0.
        seed: of the experiment; the trial's own follows from both.
        compute: device, precision, threads.
        keeping: how features of frozen prefixes are kept.
    """

    name: str
    strategy: Strategy
    initial: Checkpoint
    train: Split
    held_out: Split | None
    trial: int
    seed: int
    compute: Compute
    keeping: Keeping = field(default_factory=Keeping)

    def __post_init__(self) -> None:
        if self.strategy.decides and (self.held_out is None or self.held_out.name != "validation"):
            seen = f"the {self.held_out.name} split" if self.held_out else "no held-out split"
            raise ValueError(f"strategies.{self.name} decides by validation figures and was given {seen}")

    @property
    def trial_seed(self) -> int:
        """The seed of everything that differs between trials; the same for all strategies, which pairs them."""
        return derive(self.seed, "trial", self.trial)


@dataclass(frozen=True)
class TrialResult:
    """What a trial leaves: its checkpoint, and rows for the tables `history`, `steps` and `cost`."""

    checkpoint: Checkpoint
    history: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    cost: dict[str, Any]
