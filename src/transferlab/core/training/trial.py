"""A trial: one seed of one strategy, from the initial weights through all stages.

`train_trial(spec, folder, report, states) -> result` takes and gives plain picklable values and imports torch only, so
that any launcher (another process, another machine) can run it; several processes may run it together (see `launch`).
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import transferlab
from transferlab.core.files.hashing import digest
from transferlab.core.loading import features
from transferlab.core.models import factory, freezing
from transferlab.core.models.checkpoint import Checkpoint, on_cpu
from transferlab.core.runtime import interrupt
from transferlab.core.runtime.device import Machine, apply, resolve
from transferlab.core.runtime.memory import PeakMemory, memory_explained
from transferlab.core.runtime.progress import Progress, ProgressCallback
from transferlab.core.strategies import optimizers
from transferlab.core.strategies.strategy import Stage
from transferlab.core.training import compilation, distributed, engine
from transferlab.core.training.history import Record
from transferlab.core.training.spec import TrialResult, TrialSpec
from transferlab.core.training.stage_inputs import Inputs
from transferlab.core.training.state import StateFile, changed, fingerprint, pack, unpack

logger = logging.getLogger(__name__)


def train_trial(spec: TrialSpec, folder: Path, report: ProgressCallback, states: Path | None = None) -> TrialResult:
    """Train one trial, or go on with one that was interrupted.

    Args:
        spec: what to train.
        folder: where features of frozen prefixes are kept between trials and runs.
        report: called after each step and epoch.
        states: the folder that keeps the states of this strategy's unfinished trials; None keeps none.

    Raises:
        DeviceMemoryError: the device has too little memory.
        DivergedError: the loss became NaN or infinite.
        PolicyError: a stage's policy does not fit the network.
        StateError: `states` holds a state that is damaged or of another trial.
    """
    apply(resolve(spec.compute))
    return Trial(spec, folder, report, states).run()


def released(spec: TrialSpec, record: Record, tensors: dict[str, Tensor], selection: str) -> Checkpoint:
    """A trial's weights, those of the record's selected epoch, as a checkpoint that says what they are."""
    header = replace(
        spec.initial.header,
        strategy=spec.name,
        trial=spec.trial,
        seed=spec.seed,
        selection=selection,
        epoch=record.selected_epoch,
        metrics=record.metrics(),
        versions={"transferlab": transferlab.__version__, "torch": torch.__version__},
        recipe=spec.strategy.to_json(),
    )
    return Checkpoint(tensors, header)


class Trial:
    """A trial under way; `together` trains the heads of several and uses all but `run`."""

    def __init__(self, spec: TrialSpec, folder: Path, report: ProgressCallback, states: Path | None) -> None:
        self.spec, self.report = spec, report
        self.machine: Machine = resolve(spec.compute)
        self.network = distributed.synchronized(factory.fresh(spec.initial, spec.trial_seed, self.machine))
        self.view = spec.initial.header.view
        self.labels = torch.from_numpy(spec.train.labels).to(self.machine.device)
        self.record = Record(spec.name, spec.trial)
        self.memory = PeakMemory(self.machine.device)
        self.optimizer: torch.optim.Optimizer | None = None
        self.trained = 0
        self.inputs = Inputs(spec, self.view, self.machine, folder, report)
        self.started = time.perf_counter()
        self.file = states and StateFile(states / f"trial_{spec.trial}.pt", self.fingerprint())
        self.beginning = on_cpu(self.network) if self.file else {}
        self.state: dict[str, Any] | None = self.file.read() if self.file else None

    def run(self) -> TrialResult:
        """Train all stages, or what is left of them."""
        if self.state:
            self._restore(self.state)
        elif not self.spec.strategy.stages:
            self._evaluate("", self.network, self.inputs.held_out(), rate=0.0)
        last = 0
        for name, stage in self.spec.strategy.stages.items():
            last += stage.epochs
            with self.memory_explained(name, stage):
                self._stage(name, stage, last)
        return self.result()

    def result(self) -> TrialResult:
        """What the trial leaves."""
        tensors = self.record.best.tensors or on_cpu(self.network)
        checkpoint = released(self.spec, self.record, tensors, self.spec.strategy.selection_rule)
        return TrialResult(checkpoint, self.record.history, self.record.steps, self._cost())

    def _stage(self, name: str, stage: Stage, last: int) -> None:
        """Train a stage up to epoch `last` of the trial: all of it, or what an interrupted trial has left of it."""
        scales = self.apply_policy(stage)
        first, done = last - stage.epochs, self.record.epoch
        if self.state and done >= last and self.state["stage"] != name:
            return
        with distributed.zero_first():  # computes what a frozen prefix makes of the images; the others find it
            running, source, held_out = self.sources(name, stage)
        mode = compilation.mode(self.machine, stage, self.view.at(stage.size).size, source.on_device)
        training = engine.StageTraining(
            stage,
            running,
            self._optimizer(stage, scales),
            source,
            self.labels,
            self.machine,
            (self.spec.trial_seed, name),
            lambda step, steps: self._on_step(name, step, steps),
            mode if self._is_compiled(stage) else None,
        )
        if self.state and self.state["stage"] == name:
            training.load_state_dict(self.state["training"])
            self.state = None
        else:
            if not self.record.history:
                self._evaluate(name, running, held_out, rate=0.0)
            self.record.stage_losses = []
        for number in range(self.record.epoch - first, stage.epochs):
            with interrupt.held(bool(self.file and self.file.is_behind)):
                self._epoch(name, number, training, held_out)

    def share(self, other: Trial) -> None:
        """Use another trial's network and features, in place of equal ones."""
        self.network, self.trained, self.inputs = other.network, other.trained, other.inputs

    def apply_policy(self, stage: Stage) -> dict[str, float]:
        """Let the stage's parameters train, and no others; their learning-rate scales."""
        scales = freezing.apply(self.network, stage.trainable, self.spec.initial.header.head)
        self.trained = max(self.trained, sum(p.numel() for p in self.network.parameters() if p.requires_grad))
        return scales

    def _epoch(
        self, name: str, number: int, training: engine.StageTraining, held_out: features.StageInput | None
    ) -> None:
        self.record.epoch += 1
        result = training.epoch(number, self.record.stage_losses)
        self.record.trained(name, result)
        accuracy = self._evaluate(name, training.network, held_out, result.rates[-1])
        if self.spec.strategy.select == "best" and accuracy is not None:
            self.record.keep_if_best(accuracy, partial(on_cpu, self.network))
        self.announce(name, result, accuracy)
        if self.file and distributed.number() == 0:
            ends_stage = number + 1 == training.stage.epochs
            self.file.after_epoch(self.record.epoch, ends_stage, lambda: self._state(name, training))

    def _optimizer(self, stage: Stage, scales: dict[str, float]) -> torch.optim.Optimizer:
        """The stage's optimizer, with the moments of the stage before where it keeps them."""
        optimizer = optimizers.build(stage.optimizer, dict(self.network.named_parameters()), scales)
        if stage.keep_optimizer and self.optimizer is not None:
            optimizers.carry_over(self.optimizer, optimizer)
        self.optimizer = optimizer
        return optimizer

    def fingerprint(self, together: int = 1) -> dict[str, str]:
        """What a state depends on, by part: this trial, or so many of them `together`."""
        spec = self.spec
        splits = [split and (split.fingerprint, split.labels.tolist()) for split in (spec.train, spec.held_out)]
        parts = {
            "strategy": spec.strategy,
            "weights": digest(spec.initial.tensors),
            "view": self.view,
            "images": splits,
            "seed": (spec.seed, spec.trial),
            "number of trials": together,
            "machine": self.machine.numerics(),
            "number of devices": self.machine.devices,
            "compilation": [self._is_compiled(stage) for stage in spec.strategy.stages.values()],
            # Not micro_batch, which changes rounding alone: a trial that ran out of memory goes on with a smaller one.
        }
        return fingerprint(**parts)

    def trains_head_alone(self, stage: Stage) -> bool:
        """Whether the stage trains nothing but the modules that make the logits."""
        names = [name for name, _ in self.network.named_parameters()]
        return freezing.trains_head_alone(stage.trainable, names, self.spec.initial.header.head)

    def _is_compiled(self, stage: Stage) -> bool:
        head_alone = stage.distinct_views is not None and self.trains_head_alone(stage)
        size = self.view.at(stage.size).size
        return compilation.is_compiled(self.machine, stage, len(self.labels), size, head_alone)

    def _state(self, stage: str, training: engine.StageTraining) -> dict[str, Any]:
        return {
            "stage": stage,
            "training": training.state_dict(),
            "network": changed(self.network, self.beginning),
            "record": pack(self.record),
            "seconds": time.perf_counter() - self.started,
            "feature_seconds": self.inputs.seconds,
            "feature_bytes": self.inputs.nbytes,
            "peak_memory": self.memory.peak,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"], strict=False)
        self.record = unpack(state["record"])
        self.started -= state["seconds"]
        self.inputs.seconds, self.inputs.nbytes = state["feature_seconds"], state["feature_bytes"]
        self.memory.peak = state["peak_memory"]
        logger.info("%s: trial %d goes on after epoch %d", self.spec.name, self.spec.trial + 1, self.record.epoch)

    def sources(self, name: str, stage: Stage) -> tuple[nn.Module, features.StageInput, features.StageInput | None]:
        """What runs in the stage and on what; the time of frozen layers is no part of the trial's own."""
        began = time.perf_counter()
        found = self.inputs.of(self.network, name, stage, self.record.epoch)
        if name in self.inputs.seconds:
            self.started += time.perf_counter() - began
        return found

    def _evaluate(
        self, stage: str, running: nn.Module, source: features.StageInput | None, rate: float
    ) -> float | None:
        """Write down loss and accuracy of the held-out split, where there is one."""
        if source is None or self.spec.held_out is None:
            return None
        labels = torch.from_numpy(self.spec.held_out.labels).to(self.machine.device)
        [rows] = distributed.shares(torch.arange(len(labels)), distributed.count())[distributed.number()]
        batches = (source.batch(0, some) for some in torch.split(rows, source.evaluation_batch))
        started = time.perf_counter()
        loss, accuracy = engine.evaluate(running, batches, labels[rows.to(labels.device)], self.machine)
        self.record.row(stage, self.spec.held_out.name, loss, accuracy, rate, time.perf_counter() - started)
        self.record.stage_losses.append(loss)
        return accuracy

    def memory_explained(self, name: str, stage: Stage) -> AbstractContextManager[None]:
        """While open, memory that runs out is an error that says what to do."""
        share = math.ceil(stage.batch_size / distributed.count())
        what = f"strategies.{self.spec.name}: trial {self.spec.trial + 1}, stage {name}, batch_size {stage.batch_size}"
        return memory_explained(what, self.machine.smaller_micro_batch(share))

    def _on_step(self, stage: str, step: int, steps: int) -> None:
        self.memory.look()
        self.report(Progress(self.spec.trial, stage, self.record.epoch, self.spec.strategy.epochs, step, steps))

    def announce(self, stage: str, result: engine.EpochResult, held_out: float | None) -> None:
        """Tell the figures of an epoch."""
        steps = len(result.losses)
        at = Progress(self.spec.trial, stage, self.record.epoch, self.spec.strategy.epochs, steps, steps)
        self.report(replace(at, loss=result.loss, accuracy=result.accuracy, held_out_accuracy=held_out))

    def _cost(self) -> dict[str, Any]:
        self.memory.look()
        epochs = self.record.epoch_seconds()
        stages = self.spec.strategy.stages.values()
        return {
            "strategy": self.spec.name,
            "trial": self.spec.trial,
            "total_parameters": sum(p.numel() for p in self.network.parameters()),
            "trainable_parameters": self.trained,
            "epochs": len(epochs),
            "views": max((stage.distinct_views or 0 for stage in stages), default=0),
            "seconds": time.perf_counter() - self.started,
            "feature_seconds": sum(self.inputs.seconds.values()),
            "feature_mb": self.inputs.nbytes / 2**20,
            "seconds_per_epoch": sum(epochs) / len(epochs) if epochs else 0.0,
            "images_per_second": len(self.labels) * len(epochs) / sum(epochs) if epochs else 0.0,
            "peak_memory_mb": self.memory.mebibytes,
            **self.machine.describe(),
        }
