"""Heads of all trials, trained together: on cached features a step of every trial is one batched matrix product.

The trials are what they are alone: each its own initial head, order of images and labels. The optimizers of torch work
element by element and the loss of a trial does not touch the others, so the numbers are the same up to rounding.

Shapes: T trials, B images of a batch, N of a split, F... features, K classes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from transferlab.core.loading.features import Features, StageInput
from transferlab.core.models.checkpoint import on_cpu
from transferlab.core.models.prefix import Tail
from transferlab.core.runtime import interrupt, seeding
from transferlab.core.runtime.device import Machine, apply, resolve, upload
from transferlab.core.runtime.progress import Progress, ProgressCallback
from transferlab.core.strategies import optimizers
from transferlab.core.strategies.schedules import Plateau, Position
from transferlab.core.training import divergence, engine
from transferlab.core.training.engine import DivergedError, EpochResult
from transferlab.core.training.spec import TrialResult, TrialSpec
from transferlab.core.training.state import StateFile, pack, unpack
from transferlab.core.training.trial import Trial

logger = logging.getLogger(__name__)


def could_train(specs: Sequence[TrialSpec]) -> bool:
    """Whether trials may be trained together, as far as config tells: one stage on shared views, on one device.

    A plateau schedule and clipping by norm look at one trial alone.
    """
    stages = list(specs[0].strategy.stages.values())
    on_one_device = specs[0].compute.devices == 1
    if len(specs) == 1 or len(stages) != 1 or stages[0].distinct_views is None or not on_one_device:
        return False
    if not all(np.array_equal(spec.train.rows, specs[0].train.rows) for spec in specs):  # trials on re-splits
        return False
    clips = stages[0].clip is not None and stages[0].clip.by == "norm"
    return not clips and not isinstance(stages[0].schedule, Plateau)


def train(
    specs: Sequence[TrialSpec], folder: Path, report: ProgressCallback, states: Path | None
) -> dict[int, TrialResult | DivergedError] | None:
    """Train the trials together, or None where their tails are more than linear layers on features that all share.

    Raises:
        OSError: a file cannot be written, such as for lack of space.
        PolicyError: the stage's policy does not fit the network.
        StateError: `states` holds a state that is damaged or of other trials.
    """
    apply(resolve(specs[0].compute))
    ((name, stage),) = specs[0].strategy.stages.items()
    first = Trial(specs[0], folder, report, None)
    scales = first.apply_policy(stage)
    loss_is_scaled = first.machine.dtype == torch.float16  # by one factor for all trials
    if loss_is_scaled or not first.trains_head_alone(stage):  # features are not computed for nothing
        return None
    with first.memory_explained(name, stage):
        tail, source, held_out = first.sources(name, stage)
    if not isinstance(source, Features) or not isinstance(tail, Tail) or not tail.is_linear:
        return None
    names = [name for name, _ in tail.in_training.named_parameters()]
    trials, heads = [first], [_take(first.network, names)]
    for spec in specs[1:]:
        trial = Trial(spec, folder, report, None)
        if not _same_but(names, trial.network, first.network):
            return None
        heads.append(_take(trial.network, names))
        trial.share(first)
        trials.append(trial)
    return _Together(trials, Heads(tail.in_training, heads, first.machine), scales, source, held_out, states).run()


def _take(network: nn.Module, names: Sequence[str]) -> dict[str, Tensor]:
    parameters = dict(network.named_parameters())
    return {name: parameters[name].detach().clone() for name in names}


def _same_but(names: Sequence[str], one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks hold the same numbers in all tensors but those named."""
    others = other.state_dict()
    return all(torch.equal(tensor, others[name]) for name, tensor in one.state_dict().items() if name not in names)


def _figures(logits_NK: Tensor, labels_N: Tensor) -> tuple[float, float]:
    """Mean cross-entropy and accuracy."""
    loss = functional.cross_entropy(logits_NK.double(), labels_N)
    return loss.item(), (logits_NK.argmax(dim=1) == labels_N).double().mean().item()


class Heads:
    """The linear tails of T trials as one: parameters (T, ...), of which a slice is a trial's own."""

    def __init__(self, tail: fx.GraphModule, states: Sequence[Mapping[str, Tensor]], machine: Machine) -> None:
        self._tail, self.machine = tail, machine.for_network(tail)
        self.parameters = {
            name: nn.Parameter(torch.stack([state[name] for state in states]), requires_grad=alone.requires_grad)
            for name, alone in tail.named_parameters()
        }

    def logits(self, x: Tensor, own: bool) -> Tensor:
        """Logits (T, B, K) of each trial's own features x_TBF, or of the same x_BF for all."""
        run = vmap(lambda parameters, x: functional_call(self._tail, parameters, (x,)), in_dims=(0, 0 if own else None))
        logits_TBK: Tensor = run(self.parameters, x)
        return logits_TBK

    def of(self, trial: int) -> dict[str, Tensor]:
        """A copy of a trial's slice, by the names it has in the network."""
        return {name: stacked[trial].detach().clone() for name, stacked in self.parameters.items()}


class _Together:
    """Trials under way together, in their one stage."""

    def __init__(
        self,
        trials: list[Trial],
        heads: Heads,
        scales: Mapping[str, float],
        source: Features,
        held_out: StageInput | None,
        states: Path | None,
    ) -> None:
        self.trials, self.first, self.heads, self.source, self.held_out = trials, trials[0], heads, source, held_out
        ((self.name, self.stage),) = self.first.spec.strategy.stages.items()
        self.optimizer = optimizers.build(self.stage.optimizer, heads.parameters, scales)
        self.diverged: dict[int, str] = {}  # by place in `trials`
        self.states = states
        self.file = states and StateFile(states / "trial_0.pt", self.first.fingerprint(len(trials)))

    def run(self) -> dict[int, TrialResult | DivergedError]:
        state = self.file.read() if self.file else None
        if state:
            self._restore(state)
        else:
            self._evaluate(rate=0.0)
        for number in range(self.first.record.epoch, self.stage.epochs):
            with interrupt.held(bool(self.file and self.file.is_behind)):
                self._epoch(number)
        if self.file and len(self.diverged) == len(self.trials):
            self.file.path.unlink(missing_ok=True)  # they would diverge again
        seconds = (time.perf_counter() - self.first.started) / len(self.trials)
        return {trial.spec.trial: self._outcome(place, seconds) for place, trial in enumerate(self.trials)}

    def _epoch(self, number: int) -> None:
        before = [self.heads.of(place) for place in range(len(self.trials))]
        results = self._train(number, before)
        for trial, result in zip(self.trials, results, strict=True):
            trial.record.epoch += 1
            if result is not None:
                trial.record.trained(self.name, result)
        rate = next((result.rates[-1] for result in results if result), 0.0)
        accuracies = self._evaluate(rate)
        for place, (trial, result) in enumerate(zip(self.trials, results, strict=True)):
            if trial.spec.strategy.select == "best" and accuracies and place not in self.diverged:
                trial.record.keep_if_best(accuracies[place], partial(self.heads.of, place))
            if result is not None and number + 1 == self.stage.epochs:
                trial.announce(self.name, result, accuracies[place] if accuracies else None)
        if self.file:
            self.file.after_epoch(number + 1, number + 1 == self.stage.epochs, self._state)

    def _train(self, number: int, before: Sequence[Mapping[str, Tensor]]) -> list[EpochResult | None]:
        """Train one epoch, given the heads before it; None for the trials that have diverged."""
        count, device = len(self.first.labels), self.first.machine.device
        seeds = [trial.spec.trial_seed for trial in self.trials]
        order_TN = torch.stack([seeding.permutation(count, seed, self.name, "order", number) for seed in seeds])
        steps = engine.batches(torch.arange(count), self.stage.batch_size)
        rates: list[float] = []
        losses: list[Tensor] = []
        hits_T = torch.zeros(len(self.trials), dtype=torch.int64, device=device)
        started = time.perf_counter()
        for step, places_B in enumerate(steps):
            at = Position(number * len(steps) + step, self.stage.epochs * len(steps), number, self.stage.epochs)
            rates.append(engine.set_rate(self.optimizer, self.stage, at))
            rows_TB = order_TN[:, places_B]
            loss_T, right_T = self._step(self.source.batch(number, rows_TB), self.first.labels[upload(rows_TB, device)])
            losses.append(loss_T)
            hits_T += right_T
            self._on_step(number, step + 1, len(steps))
        self.first.machine.synchronize()
        seconds = (time.perf_counter() - started) / len(self.trials)
        sizes, loss_TS = [len(places) for places in steps], torch.stack(losses, dim=1)
        results: list[EpochResult | None] = []
        for place, (loss_S, hits) in enumerate(zip(loss_TS, hits_T.tolist(), strict=True)):
            try:
                results.append(engine.summarise(loss_S, hits, sizes, rates, seconds, number))
            except DivergedError as error:  # its numbers do not touch the other trials
                self._diverges(place, error, before[place])
                results.append(None)
        return results

    def _diverges(self, place: int, error: DivergedError, before: Mapping[str, Tensor]) -> None:
        """Leave a trial out from now on, and keep the head that it had before this epoch.

        Raises:
            OSError: that cannot be written.
        """
        if place in self.diverged:
            return
        trial = self.trials[place]
        if self.states:
            tensors = on_cpu(trial.network) | {name: tensor.cpu() for name, tensor in before.items()}
            error = divergence.keep(trial.spec, self.states, error, trial.record, tensors)
        self.diverged[place] = str(error)

    def _step(self, x_TBF: Tensor, y_TB: Tensor) -> tuple[Tensor, Tensor]:
        """One step of every trial; the mean losses (T,) and numbers of hits (T,) stay on the device."""
        with self.heads.machine.autocast():
            logits_TBK = self.heads.logits(x_TBF, own=True)
            loss_TB = functional.cross_entropy(
                logits_TBK.flatten(0, 1), y_TB.flatten(), reduction="none", label_smoothing=self.stage.label_smoothing
            ).view_as(y_TB)
        loss_T = loss_TB.mean(dim=1)
        self.optimizer.zero_grad(set_to_none=True)
        loss_T.sum().backward()  # type: ignore[no-untyped-call]
        if self.stage.clip is not None:
            self.stage.clip.apply(p for group in self.optimizer.param_groups for p in group["params"])
        self.optimizer.step()
        return loss_T.detach(), (logits_TBK.detach().argmax(dim=2) == y_TB).sum(dim=1)

    def _evaluate(self, rate: float) -> list[float] | None:
        """Write down loss and accuracy of the held-out split, where there is one; the accuracies of all trials."""
        split = self.first.spec.held_out
        if self.held_out is None or split is None:
            return None
        labels_N, machine = torch.from_numpy(split.labels), self.heads.machine
        started = time.perf_counter()
        with torch.inference_mode(), machine.autocast():
            logits = [self.heads.logits(x_BF, own=False).float().cpu() for x_BF in self.held_out.in_order()]
        seconds = (time.perf_counter() - started) / len(self.trials)
        accuracies = []
        for place, (trial, logits_NK) in enumerate(zip(self.trials, torch.cat(logits, dim=1), strict=True)):
            loss, accuracy = _figures(logits_NK, labels_N)
            accuracies.append(accuracy)
            if place not in self.diverged:
                trial.record.row(self.name, split.name, loss, accuracy, rate, seconds)
        return accuracies

    def _on_step(self, number: int, step: int, steps: int) -> None:
        self.first.memory.look()
        spec = self.first.spec
        at = Progress(spec.trial, self.name, number + 1, self.stage.epochs, step, steps, together=len(self.trials))
        self.first.report(at)

    def _outcome(self, place: int, seconds: float) -> TrialResult | DivergedError:
        trial = self.trials[place]
        if place in self.diverged:
            return DivergedError(self.diverged[place])
        trial.network.load_state_dict(trial.record.best.tensors or self.heads.of(place), strict=False)
        if trial.record.best.tensors:
            trial.record.best.tensors = on_cpu(trial.network)
        trial.memory.peak, trial.started = self.first.memory.peak, time.perf_counter() - seconds
        return trial.result()

    def _state(self) -> dict[str, Any]:
        return {
            "heads": {name: stacked.detach().cpu() for name, stacked in self.heads.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "records": [pack(trial.record) for trial in self.trials],
            "diverged": self.diverged,
            "seconds": time.perf_counter() - self.first.started,
            "peak_memory": self.first.memory.peak,
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for name, stacked in self.heads.parameters.items():
                stacked.copy_(state["heads"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        for trial, record in zip(self.trials, state["records"], strict=True):
            trial.record = unpack(record)
        self.diverged, self.first.memory.peak = state["diverged"], state["peak_memory"]
        self.first.started -= state["seconds"]
        logger.info("%s: all trials go on after epoch %d", self.first.spec.name, self.first.record.epoch)
