"""Trains trials through all their stages: one trial, or several whose heads are stacked."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from transferlab.core.loading.features import StageInput
from transferlab.core.models import freezing
from transferlab.core.runtime import interrupt
from transferlab.core.runtime.device import Machine
from transferlab.core.runtime.progress import ProgressCallback
from transferlab.core.strategies import optimizers
from transferlab.core.strategies.strategy import Stage
from transferlab.core.training import compilation, distributed, divergence, scores
from transferlab.core.training.cost import Meter, memory_advice
from transferlab.core.training.engine import DivergedError, StageTraining
from transferlab.core.training.history import Best, EpochResult, Record, SplitResult
from transferlab.core.training.learners import Learner
from transferlab.core.training.progress import TrainingProgress
from transferlab.core.training.release import is_finite, released
from transferlab.core.training.spec import TrialResult, TrialSpec
from transferlab.core.training.stage_inputs import Inputs
from transferlab.core.training.state import StateFile

logger = logging.getLogger(__name__)
State = Mapping[str, Any]


class Training:
    """T trials of a strategy that train in the same steps.

    A single trial that diverges ends the training. Of several, it is left out, and the others go on as they are.

    Args:
        specs: T trials that differ in their number alone.
        machine: device and precision.
        learner: their weights, on the device.
        inputs: what the stages run on.
        report: called after each step and epoch.
        file: keeps the state; None keeps none.
    """

    def __init__(
        self,
        specs: Sequence[TrialSpec],
        machine: Machine,
        learner: Learner,
        inputs: Inputs,
        report: ProgressCallback,
        file: StateFile | None,
    ) -> None:
        self._specs, self._machine, self._learner, self._inputs = specs, machine, learner, inputs
        self._file = file
        self._spec, self._strategy = specs[0], specs[0].strategy
        self._compiled = compilation.compiled_stages(specs[0], machine, learner.network)
        self._labels = torch.from_numpy(specs[0].train.labels).to(machine.device)
        self._records = [Record(spec.name, spec.trial) for spec in specs]
        self._progress = TrainingProgress(specs[0].strategy, len(specs), report)
        self._meter = Meter(machine.device)
        self._optimizer: torch.optim.Optimizer | None = None

    def run(self) -> list[TrialResult | DivergedError]:
        """Train all stages, or what an interrupted training has left of them; return an outcome for each trial.

        Raises:
            DivergedError: the only trial diverged.
        """
        state = self._file.read() if self._file else None
        if state:
            self._restore(state)
        elif not self._strategy.stages:
            self._evaluate("", self._inputs.held_out(), rate=0.0)
        for name, stage in self._strategy.stages.items():
            with memory_advice(self._spec, name, stage, self._machine):
                self._stage(name, stage, state)
        outcomes = [self._outcome(place) for place in range(len(self._specs))]
        if self._file and all(isinstance(outcome, DivergedError) for outcome in outcomes):
            self._file.path.unlink(missing_ok=True)  # they would diverge again
        return outcomes

    @property
    def _epoch_number(self) -> int:
        return self._records[0].epoch

    # ---- stages and epochs -------------------------------------------------------------------------------------------
    def _stage(self, name: str, stage: Stage, state: State | None) -> None:
        """Train a stage, or what the state has left of it."""
        network, names = self._learner.network, list(self._strategy.stages)
        scales = freezing.apply(network, stage.trainable, self._spec.initial.header.head)
        self._meter.count_trainable(network)
        if state and names.index(name) < names.index(state["stage"]):
            return
        began = time.perf_counter()
        with distributed.zero_first():  # rank 0 computes features, the others read them
            found = self._inputs.of(network, name, stage, self._epoch_number)
        if found.seconds is not None:
            self._meter.add_features(name, found.seconds, found.nbytes, waited=time.perf_counter() - began)
        size = self._spec.initial.header.view.at(stage.size).size
        mode = compilation.mode(self._machine, stage, size, found.train.on_device)
        self._learner.begin_stage(found.running, mode if self._compiled[name] else None)
        training = StageTraining(
            stage,
            self._learner,
            self._build_optimizer(stage, scales),
            found.train,
            self._labels,
            self._machine,
            [(spec.trial_seed, name) for spec in self._specs],
            partial(self._on_step, name),
            self._spec.initial.header.classes,
            size,
        )
        if state and state["stage"] == name:
            training.load_state_dict(state["training"])
        else:
            if not self._records[0].history:
                self._evaluate(name, found.held_out, rate=0.0)
            for record in self._records:
                record.begin_stage()
        while not self._is_over(stage):
            with interrupt.held(bool(self._file and self._file.is_behind)):
                self._epoch(name, training, found.held_out)
        training.finish()
        if self._spec.held_out is None and name == names[-1]:
            self._try_on(found.train)

    def _is_over(self, stage: Stage) -> bool:
        """Return whether the current stage has trained all its epochs, or lost its patience."""
        return stage.is_over(self._records[0].stage_epoch, self._records[0].stage_scores)

    def _build_optimizer(self, stage: Stage, scales: Mapping[str, float]) -> torch.optim.Optimizer:
        """Build the stage's optimizer, with the moments of the stage before if it keeps them."""
        optimizer = optimizers.build(stage.optimizer, self._learner.parameters(), scales)
        if stage.keep_optimizer and self._optimizer is not None:
            optimizers.carry_over(self._optimizer, optimizer)
        self._optimizer = optimizer
        return optimizer

    def _epoch(self, name: str, training: StageTraining, held_out: StageInput | None) -> None:
        """Train and evaluate one epoch, record it, and save the state if it is due."""
        before = self._weights_before(training)
        results = training.epoch(self._records[0].stage_epoch, self._records[0].stage_scores)
        for place, result in enumerate(results):
            if isinstance(result, DivergedError):
                self._leave_out(place, result, before[place])
        rate = next((result.rates[-1] for result in results if isinstance(result, EpochResult)), 0.0)
        for record, result in zip(self._records, results, strict=True):
            record.end_epoch()
            if isinstance(result, EpochResult):
                record.add_epoch(name, result)
        with training.averaged():
            found = self._evaluate(name, held_out, rate)
            for place, record in enumerate(self._records):
                if self._strategy.select == "best" and found and not record.diverged:
                    record.keep_if_best(scores.score(self._spec, found[place]), partial(self._learner.weights, place))
        ends_stage = self._is_over(training.stage)
        for place, (record, result) in enumerate(zip(self._records, results, strict=True)):
            if isinstance(result, EpochResult) and (len(self._specs) == 1 or ends_stage):
                self._progress.after_epoch(record, name, result, found[place].accuracy if found else None)
        if self._file and distributed.number() == 0:
            self._file.after_epoch(self._epoch_number, ends_stage, lambda: self._state(name, training))

    def _on_step(self, name: str, step: int, steps: int) -> None:
        self._meter.look()
        self._progress.after_step(self._records[0], name, step, steps)

    def _weights_before(self, training: StageTraining) -> list[dict[str, torch.Tensor]]:
        """Return each trial's weights before an epoch; empty for a single trial, which has them in its state."""
        if len(self._specs) == 1:
            return [{}]
        with training.averaged():
            return [self._learner.weights(place) for place in range(len(self._specs))]

    def _leave_out(self, place: int, error: DivergedError, weights: Mapping[str, torch.Tensor]) -> None:
        """Leave a trial out from now on, and keep the weights that it had before this epoch.

        Raises:
            DivergedError: it is the only trial; whoever started it keeps what its state holds.
            OSError: the weights cannot be written.
        """
        record, spec = self._records[place], self._specs[place]
        if len(self._records) == 1:
            raise error
        if record.diverged:
            return
        if self._file:
            error = divergence.keep(spec, self._file.path.parent, error, record, self._learner.complete(weights))
        record.diverged = str(error)

    def _evaluate(self, stage: str, source: StageInput | None, rate: float) -> list[SplitResult] | None:
        """Measure each trial on the held-out split, if there is one, and record it."""
        split = self._spec.held_out
        if source is None or split is None:
            return None
        started = time.perf_counter()
        found = scores.measured(self._spec, split, self._learner, source, self._machine)
        seconds = (time.perf_counter() - started) / len(found)
        for record, result in zip(self._records, found, strict=True):
            if not record.diverged:
                record.add(stage, split.name, result, rate, seconds)
                if stage and self._strategy.stages[stage].decides:
                    record.stage_scores.append(scores.monitored(self._spec, self._strategy.stages[stage], result))
        return found

    def _try_on(self, source: StageInput) -> None:
        """Leave out trials whose outputs are not finite: held-out images, of which there are none, would show it."""
        for place, result in enumerate(scores.on_a_batch(self._spec.train, self._learner, source, self._machine)):
            if not math.isfinite(result.loss):
                self._leave_out(place, divergence.at_the_end(self._records[place]), self._learner.weights(place))

    # ---- state -------------------------------------------------------------------------------------------------------
    def _state(self, stage: str, training: StageTraining) -> dict[str, Any]:
        with training.averaged():
            weights = self._learner.state_dict()
        return {
            "stage": stage,
            "training": training.state_dict(),
            "weights": weights,
            "records": [record.pack() for record in self._records],
            "meter": self._meter.state_dict(),
        }

    def _restore(self, state: State) -> None:
        self._learner.load_state_dict(state["weights"])
        self._records = [Record.unpack(record) for record in state["records"]]
        self._meter.load_state_dict(state["meter"])
        which = f"trial {self._spec.trial + 1} goes" if len(self._specs) == 1 else "all trials go"
        logger.info("%s: %s on after epoch %d", self._spec.name, which, self._epoch_number)

    # ---- results -----------------------------------------------------------------------------------------------------
    def _outcome(self, place: int) -> TrialResult | DivergedError:
        """Return what a trial leaves, if its last epoch left finite weights and losses.

        The loss of a step is that of the weights before it, so a divergence in the last step shows here alone.
        """
        spec, record = self._specs[place], self._records[place]
        if not record.diverged:
            weights = self._learner.weights(place)
            last = released(spec, replace(record, best=Best()), self._learner.complete(weights), "last")
            if not is_finite(last, spec.initial):
                self._leave_out(place, divergence.at_the_end(record), weights)
        if record.diverged:
            return DivergedError(record.diverged)
        tensors = self._learner.complete(record.best.tensors) if record.best.tensors else last.tensors
        checkpoint = released(spec, record, tensors, self._strategy.selection_rule(spec.metric))
        cost = self._meter.row(spec, record, self._machine, self._learner.network, len(self._specs))
        return TrialResult(checkpoint, record.history, record.steps, cost)
