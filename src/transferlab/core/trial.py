"""A trial: one seed of one strategy, from the initial weights through all stages.

`train_trial(spec, folder, report, states) -> result` takes and gives plain picklable values and imports torch only, so
that any launcher (another process, another machine) can run it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import transferlab
from transferlab.core import data, engine, features, interrupt, network, optim, policy, resume
from transferlab.core.checkpoint import Checkpoint, digest
from transferlab.core.data import Images
from transferlab.core.device import Machine, PeakMemory, choose
from transferlab.core.record import Record, on_cpu
from transferlab.core.spec import Progress, Report, TrialResult, TrialSpec
from transferlab.core.strategy import Stage

logger = logging.getLogger(__name__)


def train_trial(spec: TrialSpec, folder: Path, report: Report, states: Path | None = None) -> TrialResult:
    """Train one trial, or go on with one that was interrupted.

    Args:
        spec: what to train.
        folder: where features of frozen prefixes are kept between trials and runs.
        report: called after each step and epoch.
        states: the folder that keeps the states of this strategy's unfinished trials; None keeps none.

    Raises:
        DivergedError: the loss became NaN or infinite.
        PolicyError: a stage's policy does not fit the network.
        StateError: `states` holds a state that is damaged or of another trial.
    """
    return _Trial(spec, folder, report, states).run()


class _Trial:
    def __init__(self, spec: TrialSpec, folder: Path, report: Report, states: Path | None) -> None:
        self.spec, self.folder, self.report = spec, folder, report
        self.machine: Machine = choose(spec.compute)
        self.network = network.fresh(spec.initial, spec.trial_seed, self.machine)
        self.view = network.view_in(spec.initial)
        self.labels = torch.from_numpy(spec.train.labels).to(self.machine.device)
        self.record = Record(spec.name, spec.trial)
        self.memory = PeakMemory(self.machine.device)
        self.optimizer: torch.optim.Optimizer | None = None
        self.trained = 0
        self.feature_seconds: dict[str, float] = {}
        self.started = time.perf_counter()
        self.file = states and resume.StateFile(states / f"trial_{spec.trial}.pt", self._fingerprint())
        self.beginning = on_cpu(self.network) if self.file else {}
        self.state: dict[str, Any] | None = self.file.read() if self.file else None

    def run(self) -> TrialResult:
        if self.state:
            self._restore(self.state)
        elif not self.spec.strategy.stages:
            self._evaluate("", self.network, self._held_out_images(), rate=0.0)
        last = 0
        for name, stage in self.spec.strategy.stages.items():
            last += stage.epochs
            self._stage(name, stage, last)
        return TrialResult(self._checkpoint(), self.record.history, self.record.steps, self._cost())

    def _stage(self, name: str, stage: Stage, last: int) -> None:
        """Train a stage up to epoch `last` of the trial: all of it, or what an interrupted trial has left of it."""
        scales = policy.apply(self.network, stage.trainable, self.spec.initial.header["head"])
        self.trained = max(self.trained, sum(p.numel() for p in self.network.parameters() if p.requires_grad))
        first, done = last - stage.epochs, self.record.epoch
        if self.state and done >= last and self.state["stage"] != name:
            return
        running, source, held_out = self._sources(name, stage)
        training = engine.StageTraining(
            stage,
            running,
            self._optimizer(stage, scales),
            source,
            self.labels,
            self.machine,
            (self.spec.trial_seed, name),
            lambda step, steps: self._on_step(name, step, steps),
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

    def _epoch(self, name: str, number: int, training: engine.StageTraining, held_out: data.Source | None) -> None:
        self.record.epoch += 1
        result = training.epoch(number, self.record.stage_losses)
        self.record.trained(name, result)
        accuracy = self._evaluate(name, training.network, held_out, result.rates[-1])
        if self.spec.strategy.select == "best" and accuracy is not None:
            self.record.keep_if_best(accuracy, self.network)
        self._announce(name, result, accuracy)
        if self.file:
            ends_stage = number + 1 == training.stage.epochs
            self.file.after_epoch(self.record.epoch, ends_stage, lambda: self._state(name, training))

    def _optimizer(self, stage: Stage, scales: dict[str, float]) -> torch.optim.Optimizer:
        """The stage's optimizer, with the moments of the stage before where it keeps them."""
        optimizer = optim.build(stage.optimizer, self.network, scales)
        if stage.keep_optimizer and self.optimizer is not None:
            optim.carry_over(self.optimizer, optimizer)
        self.optimizer = optimizer
        return optimizer

    def _fingerprint(self) -> dict[str, str]:
        spec = self.spec
        splits = [split and (split.fingerprint, split.labels.tolist()) for split in (spec.train, spec.held_out)]
        return resume.fingerprint(
            strategy=spec.strategy,
            weights=digest(spec.initial.tensors),
            view=self.view,
            images=splits,
            seed=(spec.seed, spec.trial),
            machine=self.machine,
        )

    def _state(self, stage: str, training: engine.StageTraining) -> dict[str, Any]:
        return {
            "stage": stage,
            "training": training.state_dict(),
            "network": resume.changed(self.network, self.beginning),
            "record": resume.pack(self.record),
            "seconds": time.perf_counter() - self.started,
            "feature_seconds": self.feature_seconds,
            "peak_memory": self.memory.peak,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"], strict=False)
        self.record = resume.unpack(state["record"])
        self.started -= state["seconds"]
        self.feature_seconds = state["feature_seconds"]
        self.memory.peak = state["peak_memory"]
        logger.info("%s: trial %d goes on after epoch %d", self.spec.name, self.spec.trial + 1, self.record.epoch)

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
        began = time.perf_counter()
        kept = data.with_features(train, self.network, at, model, self.folder)
        held_out_kept = data.with_features(held_out, self.network, at, model, self.folder) if held_out else None
        self.feature_seconds[name] = kept.seconds + (held_out_kept.seconds if held_out_kept else 0.0)
        self.started += time.perf_counter() - began  # shared by trials and strategies: a cost of its own
        return self.network.get_submodule(at.tail), kept, held_out_kept

    def _view_seed(self, name: str, stage: Stage) -> tuple[int | str, ...]:
        """Views shared by all trials come from the experiment's seed, fresh ones from the trial's."""
        return ("views", self.spec.seed) if stage.views else ("augment", self.spec.trial_seed, name)

    def _held_out_images(self) -> Images | None:
        return Images(self.spec.held_out, self.view, self.machine) if self.spec.held_out else None

    def _evaluate(self, stage: str, running: nn.Module, source: data.Source | None, rate: float) -> float | None:
        """Write down loss and accuracy of the held-out split, where there is one."""
        if source is None or self.spec.held_out is None:
            return None
        labels = torch.from_numpy(self.spec.held_out.labels).to(self.machine.device)
        started = time.perf_counter()
        loss, accuracy = engine.evaluate(running, source.in_order(), labels, self.machine)
        self.record.row(stage, self.spec.held_out.name, loss, accuracy, rate, time.perf_counter() - started)
        self.record.stage_losses.append(loss)
        return accuracy

    def _on_step(self, stage: str, step: int, steps: int) -> None:
        self.memory.look()
        self.report(Progress(self.spec.trial, stage, self.record.epoch, self.spec.strategy.epochs, step, steps))

    def _announce(self, stage: str, result: engine.EpochResult, held_out: float | None) -> None:
        steps = len(result.losses)
        at = Progress(self.spec.trial, stage, self.record.epoch, self.spec.strategy.epochs, steps, steps)
        self.report(replace(at, loss=result.loss, accuracy=result.accuracy, held_out_accuracy=held_out))

    def _checkpoint(self) -> Checkpoint:
        header = {
            **self.spec.initial.header,
            "strategy": self.spec.name,
            "trial": self.spec.trial,
            "seed": self.spec.seed,
            "selection": self.spec.strategy.selection_rule,
            "epoch": self.record.selected_epoch,
            "metrics": self.record.metrics(),
            "versions": {"transferlab": transferlab.__version__, "torch": torch.__version__},
        }
        return Checkpoint(self.record.best.tensors or on_cpu(self.network), header)

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
            "feature_seconds": sum(self.feature_seconds.values()),
            "seconds_per_epoch": sum(epochs) / len(epochs) if epochs else 0.0,
            "images_per_second": len(self.labels) * len(epochs) / sum(epochs) if epochs else 0.0,
            "peak_memory_mb": self.memory.mebibytes,
            **self.machine.describe(),
        }
