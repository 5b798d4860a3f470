"""What a stage trains on: a split of the image store as batches, or the features of its views.

Both give `batch(epoch, rows)`: the input of the network, or of its tail, for some images in some epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn

import transferlab
from transferlab.core import features
from transferlab.core.augment import Draws, Operation
from transferlab.core.backbones import Model
from transferlab.core.device import Machine
from transferlab.core.seeding import generator
from transferlab.core.store import ImageStore
from transferlab.core.views import View

# Images in one forward pass without gradients: large enough to keep any device busy, small enough for 224 px on 2 GB.
EVALUATION_BATCH = 64


@dataclass(frozen=True)
class Split:
    """The images of a split: rows of the store and their labels, (N,) int64 each; picklable.

    Attributes:
        name: train, validation or test.
        store: all images, at the view's resize.
        rows: of the store.
        labels: class numbers.
    """

    name: str
    store: ImageStore
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what the images are: their pixel hashes, in order, and what decoded and resized them."""
        header = self.store.header
        parts = [header["decoder"], str(header["resize"]), *(header["pixel_sha256"][row] for row in self.rows)]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


@dataclass
class Images:
    """Views of a split, rendered batch by batch on the device.

    Attributes:
        split: which images.
        view: how the network sees them.
        machine: where.
        operations: the augmentation; none for held-out images.
        seed: key of the draws.
        views: K distinct views drawn from the key alone, or None: a new one for each epoch.
    """

    split: Split
    view: View
    machine: Machine
    operations: tuple[Operation, ...] = ()
    seed: tuple[int | str, ...] = ()
    views: int | None = 1
    _drawn: tuple[int, Draws] | None = field(default=None, repr=False)

    def view_number(self, epoch: int) -> int:
        """Which of the distinct views an epoch (from 0) uses."""
        return epoch if self.views is None else epoch % self.views

    def draws(self, number: int) -> Draws:
        """The drawn parameters of a view, a row per image of the split."""
        if self._drawn is None or self._drawn[0] != number:
            shapes_N2 = self.split.store.shapes_N2[self.split.rows]
            rng = generator(*self.seed, "view", number)
            self._drawn = number, self.view.draw(shapes_N2, self.operations, rng)
        return self._drawn[1]

    def pixels(self, number: int) -> Tensor:
        """All images of one view before normalisation, (N, 3, S, S) in [0, 1]: what a figure shows."""
        return self.view.pixels(self.split.store.batch(self.split.rows), self.draws(number), self.machine.device)

    def batch(self, epoch: int, rows: Tensor) -> Tensor:
        """Normalised x_B3SS of some images (positions within the split, int64 on the CPU) in an epoch."""
        draws = self.draws(self.view_number(epoch)).take(rows)
        images = self.split.store.batch(self.split.rows[rows.numpy()])
        x_B3SS = self.view.render(images, draws, self.machine.device)
        return x_B3SS.to(memory_format=self.machine.memory_format)

    def in_order(self, number: int = 0) -> Iterator[Tensor]:
        """All images of one view, in order, in batches for evaluation."""
        for rows in torch.split(torch.arange(len(self.split)), EVALUATION_BATCH):
            yield self.batch(number, rows)


@dataclass(frozen=True)
class Features:
    """What a frozen prefix made of the views of `Images`: one (N, F...) tensor per view, on the device.

    Attributes:
        views: the features.
        seconds: what computing them took, whenever that was.
    """

    views: tuple[Tensor, ...]
    seconds: float = 0.0

    def batch(self, epoch: int, rows: Tensor) -> Tensor:
        """The tail's input for some images in an epoch."""
        view = self.views[epoch % len(self.views)]
        return view[rows.to(view.device)]

    def in_order(self, number: int = 0) -> Iterator[Tensor]:
        """All images of one view, in order, in batches for evaluation."""
        yield from torch.split(self.views[number], EVALUATION_BATCH)


Source = Images | Features


def with_features(images: Images, network: nn.Module, at: features.Cut, model: Model, folder: Path) -> Features:
    """The features of all views of `images` (which must be finitely many), from the cache in `folder` or computed.

    The key holds all that they depend on, to the bit: architecture, weights and place of the cut, view, draws, images,
    machine (precision, device, threads) and versions.
    """
    machine, versions = images.machine, [m.__version__ for m in (transferlab, torch, torchvision, timm)]
    stored = []
    for number in range(images.views or 0):
        draws_key = (images.operations, images.seed, number) if images.operations else ()
        key = (model.name, at, images.view, draws_key, images.split.fingerprint, machine, versions)
        compute = partial(features.compute, network, at, images.in_order(number), machine)
        stored.append(features.cached(folder, key, compute))
    return Features(tuple(view.features.to(machine.device) for view in stored), sum(view.seconds for view in stored))
