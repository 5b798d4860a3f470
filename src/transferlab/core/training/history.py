"""Types the rows of the tables `history`, `steps` and `cost`, and records a trial while it trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from torch import Tensor


class SplitResult(NamedTuple):
    """What one trial's evaluation of a split measured; `value` is that of a metric that was asked for."""

    loss: float
    accuracy: float
    value: float | None = None


@dataclass(frozen=True)
class EpochResult:
    """What one trial's epoch of training measured: means over images, and the rate and loss of every step."""

    loss: float
    accuracy: float
    seconds: float
    rates: list[float]
    losses: list[float]


@dataclass(frozen=True)
class HistoryRow:
    """Loss and accuracy of one split after one epoch; epoch 0 is before any training.

    `value` is that of the metric that decides during training, if one does, on the validation images.
    """

    strategy: str
    trial: int
    stage: str
    epoch: int
    split: str
    loss: float
    accuracy: float
    learning_rate: float
    seconds: float
    value: float | None = None


@dataclass(frozen=True)
class StepRow:
    """Learning rate and mean loss of one optimizer step; steps are numbered from 1 over all stages."""

    strategy: str
    trial: int
    stage: str
    epoch: int
    step: int
    learning_rate: float
    loss: float


@dataclass(frozen=True)
class CostRow:
    """A row of the table `cost`; seconds exclude the features of frozen layers, which have a column of their own."""

    strategy: str
    trial: int
    total_parameters: int
    trainable_parameters: int
    epochs: int
    views: int
    seconds: float
    feature_seconds: float
    feature_mb: float
    seconds_per_epoch: float
    images_per_second: float
    peak_memory_mb: float
    device: str
    device_name: str
    precision: str
    threads: int
    devices: int
    parallel_trials: int
    node: str


@dataclass
class Best:
    """The weights of the epoch with the highest score of the validation images so far."""

    score: float = -math.inf
    epoch: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Record:
    """What has been recorded of a trial.

    Attributes:
        strategy: its name.
        trial: its number, from 0.
        epoch: finished epochs over all stages; 0 before any training.
        stage_epoch: finished epochs of the current stage.
        history: rows of the table `history`.
        steps: rows of the table `steps`.
        best: stays empty if the last epoch is selected.
        stage_scores: validation scores that the current stage monitors, one per epoch; higher is better.
        diverged: why the trial was left out while others went on, or None.
    """

    strategy: str
    trial: int
    epoch: int = 0
    stage_epoch: int = 0
    history: list[HistoryRow] = field(default_factory=list)
    steps: list[StepRow] = field(default_factory=list)
    best: Best = field(default_factory=Best)
    stage_scores: list[float] = field(default_factory=list)
    diverged: str | None = None

    def begin_stage(self) -> None:
        """Count the epochs of a new stage, and gather its validation scores."""
        self.stage_epoch, self.stage_scores = 0, []

    def end_epoch(self) -> None:
        """Count an epoch of training."""
        self.epoch += 1
        self.stage_epoch += 1

    def add_epoch(self, stage: str, result: EpochResult) -> None:
        """Add the rows of an epoch of training and of its steps."""
        self.add(stage, "train", SplitResult(result.loss, result.accuracy), result.rates[-1], result.seconds)
        first = len(self.steps) + 1
        for step, (rate, loss) in enumerate(zip(result.rates, result.losses, strict=True), first):
            self.steps.append(StepRow(self.strategy, self.trial, stage, self.epoch, step, rate, loss))

    def add(self, stage: str, split: str, found: SplitResult, rate: float, seconds: float) -> None:
        """Add what was measured on a split after the current epoch."""
        where = self.strategy, self.trial, stage, self.epoch, split
        self.history.append(HistoryRow(*where, found.loss, found.accuracy, rate, seconds, found.value))

    def keep_if_best(self, score: float, copy: Callable[[], dict[str, Tensor]]) -> None:
        """Keep a copy of the weights, on the CPU, if no earlier epoch had as high a score."""
        if score > self.best.score:
            self.best = Best(score, self.epoch, copy())

    @property
    def selected_epoch(self) -> int:
        """Epoch whose weights are kept: the best if one is kept, else the last."""
        return self.best.epoch if self.best.tensors else self.epoch

    def metrics(self, decides: str | None) -> dict[str, dict[str, float]]:
        """Return loss, accuracy and the metric that decides, of each split after the selected epoch."""
        rows = [row for row in self.history if row.epoch == self.selected_epoch]
        return {
            row.split: {
                "loss": row.loss,
                "accuracy": row.accuracy,
                **({} if decides is None or row.value is None else {decides: row.value}),
            }
            for row in rows
        }

    def epoch_seconds(self) -> list[float]:
        """Return the seconds of each epoch of training."""
        return [row.seconds for row in self.history if row.split == "train"]

    def pack(self) -> dict[str, Any]:
        """Return the record as plain values and tensors."""
        return asdict(self)

    @classmethod
    def unpack(cls, state: Mapping[str, Any]) -> Record:
        """Make the record again that `pack` has packed."""
        rows = {
            "history": [HistoryRow(**row) for row in state["history"]],
            "steps": [StepRow(**row) for row in state["steps"]],
            "best": Best(**state["best"]),
        }
        return cls(**{**state, **rows})
