"""A trial: one seed of one strategy, from the initial weights through all stages.

`train_trial(spec, folder, report) -> result` takes and gives plain picklable values and imports torch only, so that any
launcher (another process, another machine) can run it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transferlab.core import data, engine, features, network, optim, policy
from transferlab.core.checkpoint import Checkpoint
from transferlab.core.data import Images, Split
from transferlab.core.device import Compute, Machine, PeakMemory, choose
from transferlab.core.seeding import derive
from transferlab.core.strategy import Stage, Strategy


@dataclass(frozen=True)
class Progress:
    """Where a trial is; the figures are None until the epoch's end."""

    trial: int
    stage: str
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float | None = None
    accuracy: float | None = None
    held_out_accuracy: float | None = None


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class TrialSpec:
    """Everything a trial needs.

    Attributes:
        name: of the strategy, for the tables.
        strategy: model, stages, selection rule.
        initial: the network before training.
        train: the training split.
        held_out: the split of the curve, evaluated after each epoch: validation (which may decide), or test when
        nothing
            is decided by it, or None.
        trial: its number, from 0.
        seed: of the experiment; the trial's own follows from both.
        compute: device, precision, threads.
    """

    name: str
    strategy: Strategy
    initial: Checkpoint
    train: Split
    held_out: Split | None
    trial: int
    seed: int
    compute: Compute

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


def train_trial(spec: TrialSpec, folder: Path, report: Report) -> TrialResult:
    """Train one trial.

    Args:
        spec: what to train.
        folder: where features of frozen prefixes are kept between trials and runs.
        report: called after each step and epoch.

    Raises:
        DivergedError: the loss became NaN or infinite.
        PolicyError: a stage's policy does not fit the network.
    """
    return _Trial(spec, folder, report).run()


@dataclass
class _Best:
    """The weights of the epoch with the highest validation accuracy so far."""

    accuracy: float = -1.0
    epoch: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)


class _Trial:
    def __init__(self, spec: TrialSpec, folder: Path, report: Report) -> None:
        self.spec, self.folder, self.report = spec, folder, report
        self.machine: Machine = choose(spec.compute)
        self.network = network.fresh(spec.initial, spec.trial_seed, self.machine)
        self.view = network.view_in(spec.initial)
        self.labels = torch.from_numpy(spec.train.labels).to(self.machine.device)
        self.history: list[dict[str, Any]] = []
        self.steps: list[dict[str, Any]] = []
        self.best = _Best()
        self.memory = PeakMemory(self.machine.device)
        self.epoch = 0
        self.trained = 0

    def run(self) -> TrialResult:
        started = time.perf_counter()
        first = next(iter(self.spec.strategy.stages), "")
        self._evaluate(first, self.network, self._held_out_images(), rate=0.0)
        for name, stage in self.spec.strategy.stages.items():
            self._stage(name, stage)
        return TrialResult(self._checkpoint(), self.history, self.steps, self._cost(time.perf_counter() - started))

    def _stage(self, name: str, stage: Stage) -> None:
        scales = policy.apply(self.network, stage.trainable, self.spec.initial.header["head"])
        self.trained = max(self.trained, sum(p.numel() for p in self.network.parameters() if p.requires_grad))
        running, source, held_out = self._sources(name, stage)
        training = engine.StageTraining(
            stage,
            running,
            optim.build(stage.optimizer, self.network, scales),
            source,
            self.labels,
            self.machine,
            (self.spec.trial_seed, name),
            lambda step, steps: self._on_step(name, step, steps),
        )
        losses: list[float] = []
        for number in range(stage.epochs):
            self.epoch += 1
            result = training.epoch(number, losses)
            self._record(name, result)
            rate = result.rates[-1]
            accuracy = self._evaluate(name, running, held_out, rate, losses)
            self._announce(name, result, accuracy)
            self._keep_best(accuracy)

    def _sources(self, name: str, stage: Stage) -> tuple[nn.Module, data.Source, data.Source | None]:
        """What runs in the stage and on what: the tail on features where the prefix is frozen, else the network."""
        spec = self.spec
        train = Images(
            spec.train, self.view, self.machine, stage.augmentation, self._view_seed(name, stage), stage.distinct_views
        )
        held_out = self._held_out_images()
        # A new view every epoch would have to be computed every epoch anyway: nothing to keep.
        at = features.cut(self.network, train.batch(0, torch.arange(1))) if stage.distinct_views else None
        if at is None:
            return self.network, train, held_out
        model = spec.strategy.model
        kept = data.with_features(train, self.network, at, model, self.folder)
        held_out_kept = data.with_features(held_out, self.network, at, model, self.folder) if held_out else None
        return self.network.get_submodule(at.tail), kept, held_out_kept

    def _view_seed(self, name: str, stage: Stage) -> tuple[int | str, ...]:
        """Views shared by all trials come from the experiment's seed, fresh ones from the trial's."""
        return ("views", self.spec.seed) if stage.views else ("augment", self.spec.trial_seed, name)

    def _held_out_images(self) -> Images | None:
        return Images(self.spec.held_out, self.view, self.machine) if self.spec.held_out else None

    def _evaluate(
        self, stage: str, running: nn.Module, source: data.Source | None, rate: float, losses: list[float] | None = None
    ) -> float | None:
        if source is None or self.spec.held_out is None:
            return None
        labels = torch.from_numpy(self.spec.held_out.labels).to(self.machine.device)
        started = time.perf_counter()
        loss, accuracy = engine.evaluate(running, source.in_order(), labels, self.machine)
        self._row(stage, self.spec.held_out.name, loss, accuracy, rate, time.perf_counter() - started)
        if losses is not None:
            losses.append(loss)
        return accuracy

    def _record(self, stage: str, result: engine.EpochResult) -> None:
        self._row(stage, "train", result.loss, result.accuracy, result.rates[-1], result.seconds)
        first = len(self.steps) + 1
        for offset, (rate, loss) in enumerate(zip(result.rates, result.losses, strict=True)):
            self.steps.append(
                {
                    "strategy": self.spec.name,
                    "trial": self.spec.trial,
                    "stage": stage,
                    "epoch": self.epoch,
                    "step": first + offset,
                    "learning_rate": rate,
                    "loss": loss,
                }
            )

    def _row(self, stage: str, split: str, loss: float, accuracy: float, rate: float, seconds: float) -> None:
        self.history.append(
            {
                "strategy": self.spec.name,
                "trial": self.spec.trial,
                "stage": stage,
                "epoch": self.epoch,
                "split": split,
                "loss": loss,
                "accuracy": accuracy,
                "learning_rate": rate,
                "seconds": seconds,
            }
        )

    def _keep_best(self, accuracy: float | None) -> None:
        if self.spec.strategy.select == "best" and accuracy is not None and accuracy > self.best.accuracy:
            self.best = _Best(accuracy, self.epoch, _on_cpu(self.network))

    def _on_step(self, stage: str, step: int, steps: int) -> None:
        self.memory.look()
        self.report(Progress(self.spec.trial, stage, self.epoch, self.spec.strategy.epochs, step, steps))

    def _announce(self, stage: str, result: engine.EpochResult, held_out: float | None) -> None:
        steps = len(result.losses)
        at = Progress(self.spec.trial, stage, self.epoch, self.spec.strategy.epochs, steps, steps)
        self.report(replace(at, loss=result.loss, accuracy=result.accuracy, held_out_accuracy=held_out))

    def _checkpoint(self) -> Checkpoint:
        best = self.best.tensors
        curve = [row for row in self.history if row["epoch"] == (self.best.epoch if best else self.epoch)]
        header = {
            **self.spec.initial.header,
            "strategy": self.spec.name,
            "trial": self.spec.trial,
            "seed": self.spec.seed,
            "selection": self.spec.strategy.selection_rule,
            "epoch": self.best.epoch if best else self.epoch,
            "metrics": {row["split"]: {"loss": row["loss"], "accuracy": row["accuracy"]} for row in curve},
            "versions": {"torch": torch.__version__},
        }
        return Checkpoint(best or _on_cpu(self.network), header)

    def _cost(self, seconds: float) -> dict[str, Any]:
        self.memory.look()
        epochs = [row["seconds"] for row in self.history if row["split"] == "train"]
        stages = self.spec.strategy.stages.values()
        return {
            "strategy": self.spec.name,
            "trial": self.spec.trial,
            "total_parameters": sum(p.numel() for p in self.network.parameters()),
            "trainable_parameters": self.trained,
            "epochs": len(epochs),
            "views": max((stage.distinct_views or 0 for stage in stages), default=0),
            "seconds": seconds,
            "seconds_per_epoch": sum(epochs) / len(epochs) if epochs else 0.0,
            "images_per_second": len(self.labels) * len(epochs) / sum(epochs) if epochs else 0.0,
            "peak_memory_mb": self.memory.mebibytes,
            **self.machine.describe(),
        }


def _on_cpu(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the state dict, contiguous, on the CPU."""
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in module.state_dict().items()
    }
