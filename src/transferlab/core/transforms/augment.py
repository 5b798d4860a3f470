"""Augments whole batches: all geometry composes into one affine resample per image, the rest works on the batch.

Colour (`color`) follows all geometry, and erasing (`erase`) follows all colour. `auto` draws geometry and colour.

An operation draws its parameters for *all* images of a split at once, from one generator: a small table, a row per
image. An image's augmentation is therefore a function of (seed, epoch, image), whatever the batch size, device or
number of workers.

Geometry works on a *virtual* image: each operation maps points of its output to points of its input, and only the
composed map touches pixels. Points are continuous: pixel (0, 0) covers [0, 1) x [0, 1), its centre is (0.5, 0.5).

Shapes: N images of the split, B of a batch, H W px, 3 channels; `..._N23` is a row of 2x3 affine maps, from output
(x, y, 1) to source (x, y).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from transferlab.core.transforms import auto, color, erase
from transferlab.core.transforms import geometry as geometric
from transferlab.core.transforms.geometry import Geometry, centre_crop
from transferlab.core.transforms.operations import (
    ColorJitter,
    Cutout,
    Operation,
    RandAugment,
    RandomErasing,
    TrivialAugment,
)


@dataclass(frozen=True)
class Draws:
    """Holds the drawn parameters of a split: affine maps, steps of colour and boxes to erase, float32 on the CPU."""

    map_N23: Tensor
    reflect: bool
    colour_N2: tuple[Tensor, ...] = field(default=())
    erased_N4: tuple[Tensor, ...] = field(default=())

    def take(self, rows: Tensor) -> Draws:
        """Return the draws of some images."""
        colour, erased = (tuple(table[rows] for table in tables) for tables in (self.colour_N2, self.erased_N4))
        return Draws(self.map_N23[rows], self.reflect, colour, erased)


def draw(operations: tuple[Operation, ...], geometry: Geometry, size: int, rng: torch.Generator) -> Draws:
    """Draw every operation for all images, in order; end with a centre crop to `size` if nothing else has cropped.

    Without operations this gives the held-out view, the centre crop alone.
    """
    n = len(geometry.size_N2)
    colour: list[Tensor] = []
    erased: list[Tensor] = []
    for operation in operations:
        if isinstance(operation, ColorJitter):
            colour += color.steps(operation, n, rng)
        elif isinstance(operation, TrivialAugment | RandAugment):
            colour += auto.draw(operation, geometry, rng)
        elif isinstance(operation, Cutout | RandomErasing):
            erased.append(erase.boxes(operation, n, size, rng))
        else:
            geometric.draw(operation, geometry, size, rng)
    centre_crop(geometry, size)
    return Draws(geometry.map_N33[:, :2], geometry.reflect, tuple(colour), tuple(erased))
