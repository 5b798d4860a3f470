"""What a trial writes down while it runs: rows of the tables `history` and `steps`, and the best weights so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from transferlab.core.training.engine import EpochResult


@dataclass
class Best:
    """The weights of the epoch with the highest validation accuracy so far."""

    accuracy: float = -1.0
    epoch: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Record:
    """The rows so far.

    Attributes:
        strategy: its name.
        trial: its number.
        epoch: finished epochs over all stages, 0 before any training.
        history: rows of the table `history`.
        steps: rows of the table `steps`.
        best: see `Best`; stays empty where the last epoch is selected.
        stage_losses: held-out losses of the stage under way, an entry per epoch.
    """

    strategy: str
    trial: int
    epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    best: Best = field(default_factory=Best)
    stage_losses: list[float] = field(default_factory=list)

    def trained(self, stage: str, result: EpochResult) -> None:
        """Write down an epoch of training and its steps."""
        self.row(stage, "train", result.loss, result.accuracy, result.rates[-1], result.seconds)
        first = len(self.steps) + 1
        for offset, (rate, loss) in enumerate(zip(result.rates, result.losses, strict=True)):
            where = {"strategy": self.strategy, "trial": self.trial, "stage": stage, "epoch": self.epoch}
            self.steps.append({**where, "step": first + offset, "learning_rate": rate, "loss": loss})

    def row(self, stage: str, split: str, loss: float, accuracy: float, rate: float, seconds: float) -> None:
        """Write down the loss and accuracy of a split after the present epoch."""
        where = {"strategy": self.strategy, "trial": self.trial, "stage": stage, "epoch": self.epoch, "split": split}
        figures = {"loss": loss, "accuracy": accuracy, "learning_rate": rate, "seconds": seconds}
        self.history.append({**where, **figures})

    def keep_if_best(self, accuracy: float, copy: Callable[[], dict[str, Tensor]]) -> None:
        """Keep a copy of the weights, on the CPU, when no epoch so far was as good."""
        if accuracy > self.best.accuracy:
            self.best = Best(accuracy, self.epoch, copy())

    @property
    def selected_epoch(self) -> int:
        """The epoch whose weights are kept: the best, where one is kept, else the last."""
        return self.best.epoch if self.best.tensors else self.epoch

    def metrics(self) -> dict[str, dict[str, float]]:
        """Loss and accuracy per split after the selected epoch."""
        rows = [row for row in self.history if row["epoch"] == self.selected_epoch]
        return {row["split"]: {"loss": row["loss"], "accuracy": row["accuracy"]} for row in rows}

    def epoch_seconds(self) -> list[float]:
        """Of every epoch of training."""
        return [row["seconds"] for row in self.history if row["split"] == "train"]
