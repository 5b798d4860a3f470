"""What a stage trains on: a split of the image store as batches, or the features of its views.

Both give `batch(epoch, rows)`: the input of the network, or of its tail, for some images in some epoch.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn

import transferlab
from transferlab.core import features, resident
from transferlab.core.augment import Draws, Operation
from transferlab.core.backbones import Model
from transferlab.core.canvas import HostImages, Pixels, ResidentImages
from transferlab.core.cut import Cut, Tail, cut
from transferlab.core.device import Machine, has_room, upload
from transferlab.core.features import Keeping
from transferlab.core.seeding import generator
from transferlab.core.store import ImageStore
from transferlab.core.views import View

logger = logging.getLogger(__name__)

# Images in one forward pass without gradients: enough to keep any device busy.
EVALUATION_BATCH = 64
# Of the images in such a pass on a CPU, 16 of 224 px: with more, two networks took more memory and were no faster.
_FLOATS_ON_CPU = 16 * 3 * 224**2
MOST_RENDERED_BYTES = 256 << 20  # of held-out images that are kept as floats: 445 of 224 px


def evaluation_batch(device: torch.device, *shape: int) -> int:
    """How many inputs of a shape go through a network in one pass without gradients."""
    most = _FLOATS_ON_CPU // math.prod(shape) if device.type == "cpu" else EVALUATION_BATCH
    return max(1, min(most, EVALUATION_BATCH))


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
    _resident: ResidentImages | None = field(default=None, repr=False)

    def settle(self) -> None:
        """Have the pixels live on the device if that pays; worth it where they are used more often than once."""
        self._resident = resident.keep(self.split.name, self.split.store, self.split.rows, self.machine.device)

    @property
    def on_device(self) -> bool:
        """Whether batches are cut from what is in the device's memory."""
        return self._resident is not None

    def view_number(self, epoch: int) -> int:
        """Which of the distinct views an epoch (from 0) uses."""
        return epoch if self.views is None else epoch % self.views

    @property
    def evaluation_batch(self) -> int:
        """How many go through the network in one pass without gradients."""
        return evaluation_batch(self.machine.device, 3, self.view.size, self.view.size)

    def draws(self, number: int) -> Draws:
        """The drawn parameters of a view, a row per image of the split."""
        if self._drawn is None or self._drawn[0] != number:
            shapes_N2 = self.split.store.shapes_N2[self.split.rows]
            rng = generator(*self.seed, "view", number)
            self._drawn = number, self.view.draw(shapes_N2, self.operations, rng)
        return self._drawn[1]

    def pixels(self, number: int) -> Tensor:
        """All images of one view before normalisation, (N, 3, S, S) in [0, 1]: what a figure shows."""
        return self.view.pixels(self._images(torch.arange(len(self.split))), self.draws(number))

    def batch(self, epoch: int, rows: Tensor) -> Tensor:
        """Normalised x_B3SS of some images (positions within the split, int64 on the CPU) in an epoch."""
        draws = self.draws(self.view_number(epoch)).take(rows)
        return self.view.render(self._images(rows), draws).to(memory_format=self.machine.memory_format)

    def _images(self, rows: Tensor) -> Pixels:
        if self._resident is not None:
            return self._resident.take(rows)
        return HostImages(self.split.store.batch(self.split.rows[rows.numpy()]), self.machine.device)

    def in_order(self, number: int = 0) -> Iterator[Tensor]:
        """All images of one view, in order, in batches for evaluation."""
        for rows in torch.split(torch.arange(len(self.split)), self.evaluation_batch):
            yield self.batch(number, rows)


@dataclass(frozen=True)
class Features:
    """What a frozen prefix made of the views of `Images`: one (N, F...) tensor per view.

    Attributes:
        views: the features, on the device where there is room, else on the CPU.
        device: where batches are wanted.
        seconds: what computing them took, whenever that was.
    """

    views: tuple[Tensor, ...]
    device: torch.device
    seconds: float = 0.0

    @property
    def nbytes(self) -> int:
        """Size of all views."""
        return sum(view.nbytes for view in self.views)

    @property
    def evaluation_batch(self) -> int:
        """How many go through the tail in one pass without gradients."""
        return evaluation_batch(self.device, *self.views[0].shape[1:])

    @property
    def on_device(self) -> bool:
        """Whether batches are cut from what is in the device's memory."""
        return self.views[0].device.type == self.device.type

    def batch(self, epoch: int, rows: Tensor) -> Tensor:
        """The tail's input for some images in an epoch, float32."""
        view = self.views[epoch % len(self.views)]
        x_BF = view[upload(rows, view.device)]
        return (x_BF if self.on_device else upload(x_BF, self.device)).float()

    def in_order(self, number: int = 0) -> Iterator[Tensor]:
        """All images of one view, in order, in batches for evaluation."""
        for rows in torch.split(torch.arange(len(self.views[number])), self.evaluation_batch):
            yield self.batch(number, rows)


Source = Images | Features


def rendered(images: Images) -> Source:
    """Held-out images as the network sees them, rendered once for all epochs; where they are many, as they are."""
    if len(images.split) * 3 * images.view.size**2 * 4 <= MOST_RENDERED_BYTES:
        return Features((torch.cat(list(images.in_order())),), images.machine.device)
    images.settle()
    return images


@dataclass(frozen=True)
class OnFeatures:
    """What is left to run of a network, and the features it runs on, for each of some splits."""

    tail: Tail
    sources: list[Features]


def on_features(
    network: nn.Module,
    splits: Sequence[Images],
    model: Model,
    folder: Path,
    keeping: Keeping,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> OnFeatures | None:
    """Put the frozen prefix of a network that has its policy behind it, where it has one and the features have room.

    Args:
        network: as its stage trains it.
        splits: with finitely many views each.
        model: what the network is.
        folder: where features are kept.
        keeping: how, and how many.
        tell: called with (images done, of all) while features are computed.
    """
    at = cut(network, splits[0].batch(0, torch.arange(1)))
    if at is None:
        return None
    count = sum(len(images.split) * (images.views or 0) for images in splits)
    needed = keeping.bytes_of(count, at.shape)
    if needed > keeping.limit_gb * 1e9:
        logger.info(
            "features of %d views of images would take %.3g GB, more than training.features.limit_gb (%g): "
            "the frozen layers run in every step",
            count,
            needed / 1e9,
            keeping.limit_gb,
        )
        return None
    device, done = splits[0].machine.device, 0

    def computed(images: int) -> None:
        nonlocal done
        done += images
        tell(done, count)

    home = device if has_room(device, needed) else torch.device("cpu")
    sources = []
    for images in splits:
        numbers = range(images.views or 0)
        views = [_features(images, number, at, model, folder, keeping, computed) for number in numbers]
        seconds = sum(view.seconds for view in views)
        sources.append(Features(tuple(view.features.to(home) for view in views), device, seconds))
    return OnFeatures(at.tail, sources)


def _features(
    images: Images, number: int, at: Cut, model: Model, folder: Path, keeping: Keeping, computed: Callable[[int], None]
) -> features.Stored:
    """The features of one view, from the cache in `folder` or computed.

    The key holds all that they depend on, to the bit: architecture, weights and place of the cut, view, draws, images,
    machine (precision, device, threads) and versions.
    """
    machine, versions = images.machine, [m.__version__ for m in (transferlab, torch, torchvision, timm)]
    draws_key = (images.operations, images.seed, number) if images.operations else ()
    key = (model.name, at, images.view, draws_key, images.split.fingerprint, machine, versions)

    def make() -> Iterator[Tensor]:
        for x_BF in features.compute(at, images.in_order(number), machine):
            computed(len(x_BF))
            yield x_BF

    return features.cached(folder, key, len(images.split), make, keeping)
