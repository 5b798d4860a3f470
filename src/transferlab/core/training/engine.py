"""The training loop: an epoch of optimizer steps, none of which waits for the device.

The loop trains T trials in the same steps; T is 1 unless linear heads are stacked (see `learners`).

Shapes: T trials, B images of a batch, N of a split, S steps of an epoch, K classes. An ellipsis (...B) stands for the
trial axis, which only stacked heads have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transferlab.core.errors import MendableError
from transferlab.core.loading import prefetch
from transferlab.core.loading.features import StageInput
from transferlab.core.models import freezing
from transferlab.core.runtime import seeding
from transferlab.core.runtime.device import Machine, upload
from transferlab.core.strategies import optimizers
from transferlab.core.strategies.schedules import Position
from transferlab.core.strategies.strategy import Stage
from transferlab.core.training import distributed, order
from transferlab.core.training.average import Average
from transferlab.core.training.history import EpochResult
from transferlab.core.training.learners import Learner
from transferlab.core.training.mixing import Mixing, pairs
from transferlab.core.training.objective import Objective, class_weights

CURE = "a lower optimizer.lr, a warm-up or clip: {by: norm, at: 1} usually cures it"


class DivergedError(MendableError):
    """The loss or the weights became NaN or infinite."""


@dataclass
class StageTraining:
    """A stage under way. Each rank trains on its share of every batch; see `distributed`.

    Attributes:
        stage: the config.
        learner: what is trained: T trials.
        optimizer: of the trained parameters.
        source: of the training split.
        labels_N: int64, on the device.
        machine: device, precision, images per pass.
        seeds: T keys, one per trial, of the order of images; dropout uses the first.
        on_step: called with (step, steps) of the epoch.
        classes: names, for weights by class.
        size: px of the images that the stage trains on, for mixing them.
    """

    stage: Stage
    learner: Learner
    optimizer: torch.optim.Optimizer
    source: StageInput
    labels_N: Tensor
    machine: Machine
    seeds: Sequence[tuple[int | str, ...]]
    on_step: Callable[[int, int], None]
    classes: Sequence[str] = ()
    size: int = 0

    def __post_init__(self) -> None:
        self.machine = self.machine.for_network(self.learner.running)
        weights_K = class_weights(self.stage.class_weights, self.labels_N, self.classes)
        self._objective = Objective(self.stage.label_smoothing, weights_K)
        count = len(self.labels_N)
        self._mixing = Mixing(self.stage, self.size, count, self.seeds[0]) if self.stage.mixes else None
        self._average = Average(self.stage.ema, self.learner.moving()) if self.stage.ema else None
        self._scaler = torch.amp.GradScaler(self.machine.device.type, enabled=self.machine.dtype == torch.float16)
        self._trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        self._least = 1

    def averaged(self) -> AbstractContextManager[None]:
        """While open, the network holds what is evaluated and saved: the average of its weights, if the stage asks."""
        return self._average.in_place() if self._average else nullcontext()

    def finish(self) -> None:
        """End the stage: the network goes on with the average of its weights, if there is one."""
        if self._average:
            self._average.swap()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resume needs besides the weights, those of the average if there is one."""
        average = self._average.state_dict() if self._average else None
        return {"optimizer": self.optimizer.state_dict(), "scaler": self._scaler.state_dict(), "average": average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        if self._average:
            self._average.load_state_dict(state["average"])

    def epoch(self, number: int, scores: Sequence[float]) -> list[EpochResult | DivergedError]:
        """Train one epoch and return each trial's result, or how it diverged.

        Args:
            number: of the epoch in this stage, from 0.
            scores: of the validation images in this stage so far, for schedules that go by them.
        """
        freezing.train_mode(self.learner.running)
        self._least = least_images(self.learner.running)
        batches = self._batches(number)
        rates: list[float] = []
        losses: list[Tensor] = []
        hits_T = torch.zeros(self.learner.count, dtype=torch.int64, device=self.machine.device)
        started = time.perf_counter()
        masks = (distributed.number(),) if distributed.number() else ()
        seeded = seeding.global_seed(self.machine.device, *self.seeds[0], "dropout", number, *masks)
        with seeded, closing(self._inputs(number, batches)) as inputs:
            for step, rows in enumerate(batches):
                place, places = number * len(batches) + step, self.stage.epochs * len(batches)
                rates.append(self._set_rate(Position(place, places, number, self.stage.epochs, scores)))
                loss_T, right_T = self._step(number, inputs, rows)
                losses.append(loss_T)
                hits_T += right_T
                self.on_step(step + 1, len(batches))
        loss_TS = distributed.total(torch.stack(losses, dim=1)).cpu().double()
        distributed.total(hits_T)
        distributed.agree([*self.learner.running.buffers(), *(self._average.tensors if self._average else ())])
        self.machine.synchronize()
        seconds = (time.perf_counter() - started) / self.learner.count
        sizes = [rows.shape[-1] for rows in batches]
        return [
            _result(loss_S, hits, sizes, rates, seconds, number)
            for loss_S, hits in zip(loss_TS, hits_T.tolist(), strict=True)
        ]

    def _batches(self, epoch: int) -> list[Tensor]:
        """Return the rows (...B) of each batch of an epoch, with those of their partners if images are mixed."""
        labels_N = self.labels_N.cpu()
        drawn = [order.drawn(self.stage.sampler, labels_N, *seed, "order", epoch) for seed in self.seeds]
        cut = order.batches(self.learner.rows(torch.stack(drawn)), self.stage.batch_size)
        return [pairs(rows) for rows in cut] if self._mixing else cut

    def _set_rate(self, at: Position) -> float:
        """Set the step's learning rate (and momentum) by the stage's schedule; return the rate."""
        rate = self.stage.optimizer.lr * self.stage.schedule.factor(at)
        optimizers.set_rate(self.optimizer, rate, self.stage.schedule.momentum(at))
        return rate

    def _passes(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Return this rank's share of a batch, cut into passes."""
        return distributed.shares(rows, distributed.count(), self.machine.micro_batch)[distributed.number()]

    def _inputs(self, epoch: int, batches: list[Tensor]) -> Generator[Tensor]:
        """Yield the input of every pass of an epoch, made in advance where that does not hold up the device."""
        shown = [order.padded(part, rows, self._least) for rows in batches for part in self._passes(rows)]
        make = partial(self._mixing.batch, self.source, epoch) if self._mixing else partial(self.source.batch, epoch)
        if prefetch.pays(self.machine.device) and not self.source.on_device:
            return prefetch.ahead(make, shown, self.labels_N.device)
        return (make(rows) for rows in shown)

    def _step(self, epoch: int, inputs: Iterator[Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
        """Make one optimizer step on a batch (...B).

        Returns:
            This rank's part of each trial's mean loss and hits, (T,), still on the device.
        """
        passes = self._passes(rows)
        self.optimizer.zero_grad(set_to_none=True)
        done = []
        for number, part in enumerate(passes, 1):
            with nullcontext() if number == len(passes) else self.learner.without_average():
                done.append(self._pass(epoch, next(inputs), part, rows))
        if self.stage.clip is not None:
            self._scaler.unscale_(self.optimizer)
            self.stage.clip.apply(self._trained)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if self._average:
            self._average.update()
        losses, hits = zip(*done, strict=True)
        return torch.stack(losses).sum(dim=0), torch.stack(hits).sum(dim=0)

    def _pass(self, epoch: int, x: Tensor, part: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Add the gradient of one pass; return its part of each trial's mean loss over the batch, and its hits."""
        own, count = part.shape[-1], max(1, part.shape[-1])
        shown = order.padded(part, rows, self._least)[..., :count]
        y = self.labels_N[upload(shown, self.labels_N.device)]
        share = upload(self._mixing.share(epoch, shown[0]), self.labels_N.device) if self._mixing else None
        with self.machine.autocast():
            logits = self.learner.logits(x)[..., :count, :]
            loss_T = self._objective(logits, y, share)
        loss_T = loss_T * (own / rows.shape[-1])
        # Ranks average their gradients; the batch's gradient is their sum.
        self._scaler.scale(loss_T.sum() * distributed.count()).backward()  # type: ignore[no-untyped-call]
        target = y if share is None else torch.where(share >= 0.5, y[0], y[1])
        hits = (logits.detach().argmax(dim=-1) == target)[..., :own].sum(dim=-1)
        return loss_T.detach(), hits.expand(self.learner.count)


def least_images(running: nn.Module) -> int:
    """Return how many images a pass must show: 2 if a BatchNorm is trained, which cannot normalise one image.

    SyncBatchNorm sees the images of all ranks.
    """
    norms = (m for m in running.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    return 2 if any(norm.training and not isinstance(norm, nn.SyncBatchNorm) for norm in norms) else 1


def _result(
    loss_S: Tensor, hits: int, sizes: list[int], rates: list[float], seconds: float, epoch: int
) -> EpochResult | DivergedError:
    """Sum up one trial's epoch, given the mean loss, size and rate of every step, and all hits."""
    bad = (~loss_S.isfinite()).nonzero()
    if len(bad):
        step = int(bad[0])
        return DivergedError(
            f"the loss became {loss_S[step].item()} at step {step + 1} of epoch {epoch + 1} of the stage, at learning "
            f"rate {rates[step]:.3g}; {CURE}"
        )
    weights = torch.tensor(sizes, dtype=torch.float64)
    mean = float((loss_S * weights).sum() / weights.sum())
    return EpochResult(mean, hits / sum(sizes), seconds, rates, loss_S.tolist())
