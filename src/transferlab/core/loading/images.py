"""Renders a split of the image store as batches: the views that a network sees."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferlab.core.data.store import ImageStore
from transferlab.core.loading.gpu_cache import GpuCache
from transferlab.core.models.forward import evaluation_batch
from transferlab.core.runtime.device import Machine
from transferlab.core.runtime.seeding import generator
from transferlab.core.transforms.augment import Draws
from transferlab.core.transforms.operations import Operation
from transferlab.core.transforms.pixels import HostImages, Pixels, ResidentImages
from transferlab.core.transforms.view import View

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Names the images of a split: rows of the store and their labels, (N,) int64 each; picklable.

    Attributes:
        name: train, validation or test.
        store: holds all images, resized as the view asks.
        rows: the images' places in the store.
        labels: class numbers.
        pool: where trials have splits of their own, or train on parts, the rows of all their images; else None.
    """

    name: str
    store: ImageStore
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    pool: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def places(self) -> Tensor:
        """Places (N,) of the images among those of `pool`, int64.

        Raises:
            ValueError: there is no pool.
        """
        if self.pool is None:
            raise ValueError(f"the {self.name} split has no pool")
        order_N = np.argsort(self.pool, kind="stable")
        return torch.from_numpy(order_N[np.searchsorted(self.pool, self.rows, sorter=order_N)])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the images: their pixel hashes, in order, and what decoded and resized them."""
        header = self.store.header
        parts = [header["decoder"], str(header["resize"]), *(header["pixel_sha256"][row] for row in self.rows)]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    @property
    def contents(self) -> str:
        """SHA-256 of which images there are, with which labels: in any order, however decoded and resized."""
        hashes = self.store.header["pixel_sha256"]
        lines = sorted(f"{hashes[row]} {label}" for row, label in zip(self.rows, self.labels, strict=True))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dataclass
class Images:
    """Views of a split, rendered batch by batch on the device.

    Attributes:
        split: the images.
        view: how the network sees them.
        machine: renders them.
        operations: the augmentation; empty for held-out images.
        seed: the key of the random draws.
        views: K distinct views that depend on the seed alone, or None for a new view in each epoch.
    """

    split: Split
    view: View
    machine: Machine
    operations: tuple[Operation, ...] = ()
    seed: tuple[int | str, ...] = ()
    views: int | None = 1
    _drawn: tuple[int, Draws] | None = field(default=None, repr=False)
    _resident: ResidentImages | None = field(default=None, repr=False)

    def move_to(self, cache: GpuCache) -> None:
        """Read pixels from the device's memory from now on, if uploading pays; call it if they are used repeatedly."""
        self._resident = cache.keep(self.split.store, self.split.rows)

    @property
    def on_device(self) -> bool:
        """Whether batches are cut from images in the device's memory."""
        return self._resident is not None

    def view_number(self, epoch: int) -> int:
        """Return which of the distinct views an epoch (from 0) uses."""
        return epoch if self.views is None else epoch % self.views

    @property
    def evaluation_batch(self) -> int:
        """How many images go through the network in one pass without gradients."""
        return evaluation_batch(self.machine.device, 3, self.view.size, self.view.size)

    def draws(self, number: int) -> Draws:
        """Draw the parameters of a view, a row per image of the split.

        Distinct views are drawn for the whole pool, so that an image has the same ones in every split, cached or not.
        """
        if self._drawn is None or self._drawn[0] != number:
            is_of_pool = self.split.pool is not None and self.views is not None
            rows = self.split.pool if is_of_pool else self.split.rows
            rng = generator(*self.seed, "view", number)
            drawn = self.view.draw(self.split.store.shapes_N2[rows], self.operations, rng)
            self._drawn = number, drawn.take(self.split.places) if is_of_pool else drawn
        return self._drawn[1]

    def pixels(self, number: int) -> Tensor:
        """Render all images of one view without normalisation, (N, 3, S, S) in [0, 1], for a figure."""
        return self.view.pixels(self._images(torch.arange(len(self.split))), self.draws(number))

    def batch(self, epoch: int, rows: Tensor) -> Tensor:
        """Render normalised x_B3SS of some images (positions within the split, int64 on the CPU) in an epoch."""
        draws = self.draws(self.view_number(epoch)).take(rows)
        return self.view.render(self._images(rows), draws).to(memory_format=self.machine.memory_format)

    def _images(self, rows: Tensor) -> Pixels:
        if self._resident is not None:
            return self._resident.take(rows)
        return HostImages(self.split.store.batch(self.split.rows[rows.numpy()]), self.machine.device)

    def in_order(self, number: int = 0) -> Iterator[Tensor]:
        """Yield all images of one view, in order, in batches for evaluation."""
        for rows in torch.split(torch.arange(len(self.split)), self.evaluation_batch):
            yield self.batch(number, rows)
