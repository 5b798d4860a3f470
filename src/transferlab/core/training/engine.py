"""The training loop: an epoch of optimizer steps, and the evaluation of a split. No step waits for the device.

The loop trains T trials in the same steps; T is 1 unless linear heads are stacked (see `learners`).

Shapes: T trials, B images of a batch, N of a split, S steps of an epoch, K classes. An ellipsis (...B) stands for the
trial axis, which only stacked heads have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from transferlab.core.errors import MendableError
from transferlab.core.loading import prefetch
from transferlab.core.loading.features import StageInput
from transferlab.core.models import freezing
from transferlab.core.runtime import seeding
from transferlab.core.runtime.device import Machine, upload
from transferlab.core.strategies import optimizers
from transferlab.core.strategies.schedules import Position
from transferlab.core.strategies.strategy import Stage
from transferlab.core.training import distributed
from transferlab.core.training.history import EpochResult
from transferlab.core.training.learners import Learner

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
    """

    stage: Stage
    learner: Learner
    optimizer: torch.optim.Optimizer
    source: StageInput
    labels_N: Tensor
    machine: Machine
    seeds: Sequence[tuple[int | str, ...]]
    on_step: Callable[[int, int], None]

    def __post_init__(self) -> None:
        self.machine = self.machine.for_network(self.learner.running)
        self._scaler = torch.amp.GradScaler(self.machine.device.type, enabled=self.machine.dtype == torch.float16)
        self._trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        self._least = 1

    def state_dict(self) -> dict[str, Any]:
        """Return what a resume needs besides the weights."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self._scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])

    def epoch(self, number: int, validation_losses: Sequence[float]) -> list[EpochResult | DivergedError]:
        """Train one epoch and return each trial's result, or how it diverged.

        Args:
            number: of the epoch in this stage, from 0.
            validation_losses: of this stage so far, for schedules that follow them.
        """
        freezing.train_mode(self.learner.running)
        self._least = least_images(self.learner.running)
        count = len(self.labels_N)
        order_TN = torch.stack([seeding.permutation(count, *seed, "order", number) for seed in self.seeds])
        order = batches(self.learner.rows(order_TN), self.stage.batch_size)
        rates: list[float] = []
        losses: list[Tensor] = []
        hits_T = torch.zeros(self.learner.count, dtype=torch.int64, device=self.machine.device)
        started = time.perf_counter()
        masks = (distributed.number(),) if distributed.number() else ()
        seeded = seeding.global_seed(self.machine.device, *self.seeds[0], "dropout", number, *masks)
        with seeded, closing(self._inputs(number, order)) as inputs:
            for step, rows in enumerate(order):
                at = Position(
                    number * len(order) + step,
                    self.stage.epochs * len(order),
                    number,
                    self.stage.epochs,
                    validation_losses,
                )
                rates.append(self._set_rate(at))
                loss_T, right_T = self._step(inputs, rows)
                losses.append(loss_T)
                hits_T += right_T
                self.on_step(step + 1, len(order))
        loss_TS = distributed.total(torch.stack(losses, dim=1)).cpu().double()
        distributed.total(hits_T)
        distributed.agree(self.learner.running.buffers())
        self.machine.synchronize()
        seconds = (time.perf_counter() - started) / self.learner.count
        sizes = [rows.shape[-1] for rows in order]
        return [
            _result(loss_S, hits, sizes, rates, seconds, number)
            for loss_S, hits in zip(loss_TS, hits_T.tolist(), strict=True)
        ]

    def _set_rate(self, at: Position) -> float:
        """Set the step's learning rate (and momentum) by the stage's schedule; return the rate."""
        rate = self.stage.optimizer.lr * self.stage.schedule.factor(at)
        optimizers.set_rate(self.optimizer, rate, self.stage.schedule.momentum(at))
        return rate

    def _passes(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Return this rank's share of a batch, cut into passes."""
        return distributed.shares(rows, distributed.count(), self.machine.micro_batch)[distributed.number()]

    def _inputs(self, epoch: int, order: list[Tensor]) -> Generator[Tensor]:
        """Yield the input of every pass of an epoch, made in advance where that does not hold up the device."""
        shown = [padded(part, rows, self._least) for rows in order for part in self._passes(rows)]
        make = partial(self.source.batch, epoch)
        if prefetch.pays(self.machine.device) and not self.source.on_device:
            return prefetch.ahead(make, shown, self.labels_N.device)
        return (make(rows) for rows in shown)

    def _step(self, inputs: Iterator[Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
        """Make one optimizer step on a batch (...B).

        Returns:
            This rank's part of each trial's mean loss and hits, (T,), still on the device.
        """
        passes = self._passes(rows)
        self.optimizer.zero_grad(set_to_none=True)
        done = []
        for number, part in enumerate(passes, 1):
            with nullcontext() if number == len(passes) else self.learner.without_average():
                done.append(self._pass(next(inputs), part, rows))
        if self.stage.clip is not None:
            self._scaler.unscale_(self.optimizer)
            self.stage.clip.apply(self._trained)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        losses, hits = zip(*done, strict=True)
        return torch.stack(losses).sum(dim=0), torch.stack(hits).sum(dim=0)

    def _pass(self, x: Tensor, part: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Add the gradient of one pass; return its part of each trial's mean loss over the batch, and its hits."""
        own, count = part.shape[-1], max(1, part.shape[-1])
        y = self.labels_N[upload(padded(part, rows, self._least)[..., :count], self.labels_N.device)]
        with self.machine.autocast():
            logits = self.learner.logits(x)[..., :count, :]
            loss_T = self.learner.loss(logits, y, self.stage.label_smoothing)
        loss_T = loss_T * (own / rows.shape[-1])
        # Ranks average their gradients; the batch's gradient is their sum.
        self._scaler.scale(loss_T.sum() * distributed.count()).backward()  # type: ignore[no-untyped-call]
        hits = (logits.detach().argmax(dim=-1) == y)[..., :own].sum(dim=-1)
        return loss_T.detach(), hits.expand(self.learner.count)


def batches(order: Tensor, size: int) -> list[Tensor]:
    """Cut an order of images (...N) into batches.

    A last batch of one image joins the batch before it, because BatchNorm cannot train on one.
    """
    cut = list(torch.split(order, size, dim=-1))
    if len(cut) > 1 and cut[-1].shape[-1] == 1:
        cut[-2:] = [torch.cat(cut[-2:], dim=-1)]
    return cut


def least_images(running: nn.Module) -> int:
    """Return how many images a pass must show: 2 if a BatchNorm is trained, which cannot normalise one image.

    SyncBatchNorm sees the images of all ranks.
    """
    norms = (m for m in running.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    return 2 if any(norm.training and not isinstance(norm, nn.SyncBatchNorm) for norm in norms) else 1


def padded(part: Tensor, rows: Tensor, least: int) -> Tensor:
    """Return the images that a pass shows: its own, and others of its batch where these are fewer than `least`.

    The others have weight zero. Ranks without images need them too, because all ranks must join every collective.
    """
    missing = min(least, rows.shape[-1]) - part.shape[-1]
    if missing <= 0:
        return part
    others = rows[~torch.isin(rows, part)]
    return torch.cat([part, others[:missing]])


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


def evaluate(
    learner: Learner, inputs: Iterator[Tensor], labels_N: Tensor, machine: Machine
) -> list[tuple[float, float]]:
    """Return each trial's mean cross-entropy and accuracy over the images of a split.

    Args:
        learner: the trials.
        inputs: batches of this rank's share of the split.
        labels_N: of the same images, on the CPU; a rank may have none.
        machine: device and precision.
    """
    sums_T3 = torch.zeros(learner.count, 3, dtype=torch.float64)  # on the CPU: MPS has no float64
    if len(labels_N):
        for place, logits_NK in enumerate(learner.evaluate(inputs, machine).cpu()):
            loss = functional.cross_entropy(logits_NK.double(), labels_N, reduction="sum")
            hits = (logits_NK.argmax(dim=1) == labels_N).sum()
            sums_T3[place] = torch.stack([loss, hits.double(), torch.full_like(loss, len(labels_N))])
    return [(loss / count, hits / count) for loss, hits, count in distributed.total(sums_T3).tolist()]
