"""The training loop: an epoch of steps, and the evaluation of a split. Nothing in a step waits for the device.

Shapes: B images of a batch, K classes, N images of a split.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
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
from transferlab.core.models.forward import logits
from transferlab.core.runtime import seeding
from transferlab.core.runtime.device import Machine, upload
from transferlab.core.strategies import optimizers
from transferlab.core.strategies.schedules import Position
from transferlab.core.strategies.strategy import Stage
from transferlab.core.training import compilation, distributed


class DivergedError(MendableError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class EpochResult:
    """What an epoch of training measured: means over images, and the rate and loss of every step."""

    loss: float
    accuracy: float
    seconds: float
    rates: list[float]
    losses: list[float]


@dataclass
class StageTraining:
    """A stage under way: the part of the network it runs, its optimizer, its data.

    Each rank trains on its share of every batch; see `ranks`.

    Attributes:
        stage: the config.
        network: the network, or its tail when `source` gives features.
        optimizer: of the trained parameters.
        source: of the training split.
        labels_N: int64, on the device.
        machine: where.
        seed: key of the order of images and of dropout.
        on_step: called with (step, steps) of the epoch.
        compiled: how torch compiles the passes; None as they are.
    """

    stage: Stage
    network: nn.Module
    optimizer: torch.optim.Optimizer
    source: StageInput
    labels_N: Tensor
    machine: Machine
    seed: tuple[int | str, ...]
    on_step: Callable[[int, int], None]
    compiled: compilation.Mode | None = None

    def __post_init__(self) -> None:
        self.machine = self.machine.for_network(self.network)
        self._scaler = torch.amp.GradScaler(self.machine.device.type, enabled=self.machine.dtype == torch.float16)
        self._trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        self._parallel = distributed.parallel(compilation.compiled(self.network, self.compiled))

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs besides the network."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self._scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])

    def epoch(self, number: int, validation_losses: list[float]) -> EpochResult:
        """Train one epoch (`number` from 0 in this stage).

        Raises:
            DivergedError: a loss was NaN or infinite; names the step and the rate.
        """
        freezing.train_mode(self.network)
        order = batches(seeding.permutation(len(self.labels_N), *self.seed, "order", number), self.stage.batch_size)
        rates: list[float] = []
        loss_S: list[Tensor] = []
        correct = torch.zeros((), dtype=torch.int64, device=self.machine.device)
        started = time.perf_counter()
        masks = (distributed.number(),) if distributed.number() else ()
        seeded = seeding.global_seed(self.machine.device, *self.seed, "dropout", number, *masks)
        with seeded, closing(self._inputs(number, order)) as inputs:
            for step, rows in enumerate(order):
                at = Position(
                    number * len(order) + step,
                    self.stage.epochs * len(order),
                    number,
                    self.stage.epochs,
                    validation_losses,
                )
                rates.append(set_rate(self.optimizer, self.stage, at))
                loss, hits = self._step(inputs, rows)
                loss_S.append(loss)
                correct += hits
                self.on_step(step + 1, len(order))
        losses = distributed.total(torch.stack(loss_S)).cpu().double()
        distributed.total(correct)
        distributed.agree(self.network.buffers())
        self.machine.synchronize()
        seconds = time.perf_counter() - started
        return summarise(losses, int(correct), [len(rows) for rows in order], rates, seconds, number)

    def _passes(self, rows_B: Tensor) -> tuple[Tensor, ...]:
        """This rank's share of a batch, cut into passes."""
        return distributed.shares(rows_B, distributed.count(), self.machine.micro_batch)[distributed.number()]

    def _inputs(self, epoch: int, order: list[Tensor]) -> Generator[Tensor]:
        """The input of every pass of an epoch, in order; made while the device works where that does not hold it."""
        shown = [_shown(rows, rows_B) for rows_B in order for rows in self._passes(rows_B)]
        make = partial(self.source.batch, epoch)
        if prefetch.pays(self.machine.device) and not self.source.on_device:
            return prefetch.ahead(make, shown, self.labels_N.device)
        return (make(rows) for rows in shown)

    def _step(self, inputs: Iterator[Tensor], rows_B: Tensor) -> tuple[Tensor, Tensor]:
        """One optimizer step on a batch; this rank's part of the mean loss and of the hits stay on the device."""
        passes = self._passes(rows_B)
        self.optimizer.zero_grad(set_to_none=True)
        done = []
        for number, rows in enumerate(passes, 1):
            with nullcontext() if number == len(passes) else distributed.without_average(self._parallel):
                done.append(self._pass(next(inputs), rows, rows_B))
        if self.stage.clip is not None:
            self._scaler.unscale_(self.optimizer)
            self.stage.clip.apply(self._trained)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        losses, hits = zip(*done, strict=True)
        return torch.stack(losses).sum(), torch.stack(hits).sum()

    def _pass(self, x: Tensor, rows: Tensor, rows_B: Tensor) -> tuple[Tensor, Tensor]:
        """Add what some images of a batch contribute to the gradient of its mean loss; their part of that, and hits."""
        y = self.labels_N[upload(_shown(rows, rows_B), self.labels_N.device)]
        compilation.begin_pass(self.compiled)
        with self.machine.autocast():
            logits = self._parallel(x)
            loss = functional.cross_entropy(logits, y, label_smoothing=self.stage.label_smoothing)
        loss = loss * (len(rows) / len(rows_B))
        # Gradients are averaged over ranks, and what is wanted is their sum.
        self._scaler.scale(loss * distributed.count()).backward()  # type: ignore[no-untyped-call]
        return loss.detach(), (logits.detach().argmax(dim=1) == y)[: len(rows)].sum()


def _shown(rows: Tensor, rows_B: Tensor) -> Tensor:
    """What a pass shows: its images, or where it has none the batch's first, at weight zero, since ranks meet in it."""
    return rows if len(rows) else rows_B[:1]


def set_rate(optimizer: torch.optim.Optimizer, stage: Stage, at: Position) -> float:
    """Set the learning rate (and momentum) of a step by the stage's schedule, and give it."""
    rate = stage.optimizer.lr * stage.schedule.factor(at)
    optimizers.set_rate(optimizer, rate, stage.schedule.momentum(at))
    return rate


def summarise(
    loss_S: Tensor, correct: int, sizes: list[int], rates: list[float], seconds: float, epoch: int
) -> EpochResult:
    """The result of an epoch, given the mean loss (S,), the size and the rate of every step, and all hits.

    Raises:
        DivergedError: a loss was NaN or infinite; names the step and the rate.
    """
    losses, weights = loss_S.cpu().double(), torch.tensor(sizes, dtype=torch.float64)
    _check_finite(losses, rates, epoch)
    mean = float((losses * weights).sum() / weights.sum())
    return EpochResult(mean, correct / sum(sizes), seconds, rates, losses.tolist())


def batches(order_N: Tensor, size: int) -> list[Tensor]:
    """Cut an order into batches; a last batch of one joins the one before it, since BatchNorm cannot train on one."""
    cut = list(torch.split(order_N, size))
    if len(cut) > 1 and len(cut[-1]) == 1:
        cut[-2:] = [torch.cat(cut[-2:])]
    return cut


def _check_finite(losses: Tensor, rates: list[float], epoch: int) -> None:
    bad = (~losses.isfinite()).nonzero()
    if len(bad):
        step = int(bad[0])
        raise DivergedError(
            f"the loss became {losses[step].item()} at step {step + 1} of epoch {epoch + 1} of the stage, at learning "
            f"rate {rates[step]:.3g}; a lower optimizer.lr, a warm-up or clip: {{by: norm, at: 1}} usually cures it"
        )


def evaluate(network: nn.Module, inputs: Iterator[Tensor], labels_N: Tensor, machine: Machine) -> tuple[float, float]:
    """Mean cross-entropy and accuracy over the images of a split, of which each rank is given its share.

    Args:
        network: the network, or its tail.
        inputs: what it takes, in batches.
        labels_N: of these images, on the device; a rank may have none.
        machine: where.
    """
    sums = torch.zeros(3, dtype=torch.float64)  # on the CPU: MPS has no float64
    if len(labels_N):
        logits_NK, labels_N = logits(network, inputs, machine).cpu(), labels_N.cpu()
        loss = functional.cross_entropy(logits_NK.double(), labels_N, reduction="sum")
        hits = (logits_NK.argmax(dim=1) == labels_N).sum()
        sums = torch.stack([loss, hits.double(), torch.full_like(loss, len(labels_N))])
    loss_sum, hit_sum, count = distributed.total(sums).tolist()
    return loss_sum / count, hit_sum / count
