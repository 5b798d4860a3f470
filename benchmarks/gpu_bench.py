"""Holds what all parts of `benchmarks.gpu` use: images, recipes, how much is measured, and when time is up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks import ours, recipes
from transferlab.core.launch.trials import train_trials
from transferlab.core.loading.images import Split
from transferlab.core.strategies.optimizers import SGD
from transferlab.core.strategies.schedules import OneCycle
from transferlab.core.strategies.strategy import Stage, Strategy
from transferlab.core.training.spec import TrialResult, TrialSpec
from transferlab.core.transforms.input import Input
from transferlab.core.transforms.operations import Cutout, RandomCrop, RandomFlip

SMALL, LARGE = Input(size=32, resize=32), Input(size=224, resize=224)
AUGMENTATION = (RandomCrop(padding=4, padding_mode="reflect"), RandomFlip(), Cutout(size=8))


@dataclass(frozen=True)
class Amounts:
    """Says how much is measured.

    Attributes:
        few: images of the parts that compare numbers.
        images: for training from scratch; None trains on all.
        epochs: of training from scratch.
        fast_epochs: of the recipe of seconds.
        large: images at 224 px.
        batch: of images at 224 px.
        networks: that are fine-tuned.
        steps: of the bare loop.
    """

    few: int = 512
    images: int | None = None
    epochs: int = 30
    fast_epochs: int = 16
    large: int = 4096
    batch: int = 128
    networks: tuple[str, ...] = ("resnet18", "resnet50")
    steps: int = 50


OF_DEVICE = {
    "cuda": Amounts(),
    "cpu": Amounts(few=32, images=32, epochs=1, fast_epochs=1, large=8, batch=4, networks=("resnet18",), steps=2),
}


class Bench:
    """Holds what all parts use: decoded images, the device, how much is measured, and when time is up."""

    def __init__(self, root: Path, work: Path, device: Literal["cuda", "cpu"], deadline: float) -> None:
        self.deadline = deadline
        self.work, self.device, self.amounts = work, device, OF_DEVICE[device]
        self.small = ours.decode(root, [scratch(1)], work / "small")
        self.root, self.folders = root, 0

    @cached_property
    def large(self) -> ours.Data:
        """The images at 224 px, so many as are measured."""
        of_class = -(-self.amounts.large // len(self.small.classes))
        return ours.decode(self.root, [replace(scratch(1), input=LARGE)], self.work / "large", of_class)

    @property
    def compute(self) -> ours.Compute:
        """What is measured on."""
        return ours.Compute(device=self.device)

    def of(self, strategy: Strategy) -> ours.Data:
        """Return the images at the size that a strategy needs."""
        return self.large if strategy.input == LARGE else self.small

    def train(
        self, strategy: Strategy, images: int | None, compute: ours.Compute, states: Path | None = None, **more: Any
    ) -> list[TrialResult]:
        """Train trials of a strategy on evenly spaced images of each split.

        Args:
            strategy: what to train.
            images: how many of each split; None takes all.
            compute: on what.
            states: where states are kept; None keeps none.
            more: `trials`, their number, and `report`, called with their progress.
        """
        data = self.of(strategy)
        train, test = (some(data.of(strategy)[name], images) for name in ("train", "test"))
        begin = ours.initial(strategy, data)
        specs = [
            TrialSpec("gpu", strategy, begin, train, test, number, 0, compute)
            for number in range(more.get("trials", 1))
        ]
        self.folders += 1  # features of one measurement are not another's
        report = more.get("report", lambda at: None)
        return list(train_trials(specs, self.work / f"features_{self.folders}", report, states).values())


def scratch(epochs: int, network: str = "resnet18_32px") -> Strategy:
    """Return the recipe `scratch_one_cycle` of the experiment cifar10_scratch."""
    return of_scratch(network, epochs, batch_size=128, rate=0.1)


def fast(epochs: int) -> Strategy:
    """Return the recipe `scratch_in_seconds` of the experiment cifar10_scratch."""
    return of_scratch("resnet9_32px", epochs, batch_size=512, rate=0.4)


def of_scratch(network: str, epochs: int, batch_size: int, rate: float) -> Strategy:
    """Describe training from scratch in one cycle."""
    stage = Stage(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=SGD(lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4),
        schedule=OneCycle(momentum_range=None),
        label_smoothing=0.1,
        augmentation=AUGMENTATION,
    )
    return Strategy(model=ours.Model(name=f"transferlab/{network}"), input=SMALL, stages={"train": stage})


def large(name: str, bench: Bench, trainable: str, epochs: int) -> Strategy:
    """Return a strategy at 224 px, with random weights: they serve for seconds, not for accuracies."""
    model = ours.with_weights(ours.Model(name=f"torchvision/{name}"), bench.work)
    stage = Stage(
        epochs=epochs,
        batch_size=bench.amounts.batch,
        optimizer=SGD(lr=1e-4),
        trainable=trainable,
        augmentation=recipes.AUGMENTATION,
        views=None if trainable == "all" else 1,
    )
    return Strategy(model=model, input=LARGE, stages={"train": stage})


def some(split: Split, count: int | None) -> Split:
    """Return evenly spaced images of a split, so that every class is among them."""
    if count is None or count >= len(split):
        return split
    at = torch.linspace(0, len(split) - 1, count).long().numpy()
    return replace(split, rows=split.rows[at], labels=split.labels[at])
