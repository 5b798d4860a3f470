"""Draws geometric operations: each maps points of its output to points of its input.

Points are continuous: pixel (0, 0) covers [0, 1) x [0, 1), and its centre is (0.5, 0.5).

Shapes: N images of the split; `..._N33` and `..._N23` are affine maps, from output (x, y, 1) to source (x, y).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor

from transferlab.core.transforms.operations import (
    GeometricOperation,
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    RandomRotation,
    Squash,
)


@dataclass
class Geometry:
    """Composes the operations of a view: a map from points of the virtual image to points of the stored one."""

    size_N2: Tensor  # height, width of the virtual image, float32
    map_N33: Tensor
    reflect: bool = False

    def compose(self, map_N33: Tensor, size_N2: Tensor) -> None:
        """Append an operation: `map_N33` takes points of its output (of `size_N2`) to points of its input."""
        self.map_N33 = self.map_N33 @ map_N33
        self.size_N2 = size_N2


def scale_shift(scale_x: Tensor, scale_y: Tensor, shift_x: Tensor, shift_y: Tensor) -> Tensor:
    """Make the maps x -> scale_x * x + shift_x, and likewise y: matrices (N, 3, 3) from four tensors of shape (N,)."""
    zero, one = torch.zeros_like(shift_x), torch.ones_like(shift_x)
    rows = [scale_x, zero, shift_x, zero, scale_y, shift_y, zero, zero, one]
    return torch.stack(rows, dim=-1).reshape(-1, 3, 3)


@singledispatch
def draw(operation: GeometricOperation, geometry: Geometry, size: int, rng: torch.Generator) -> None:
    """Draw an operation for every image and compose it; `size` is the network's input, px."""
    raise TypeError(f"{type(operation).__name__} is no geometric operation")


@draw.register
def _(operation: RandomResizedCrop, geometry: Geometry, size: int, rng: torch.Generator) -> None:
    out = operation.size or size
    top, left, height, width = crop_box(operation, geometry.size_N2, rng)
    geometry.compose(scale_shift(width / out, height / out, left, top), torch.full_like(geometry.size_N2, out))


def crop_box(
    operation: RandomResizedCrop, size_N2: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw (top, left, height, width) in px, each (N,): the first of ten tries that fits, else the centre."""
    scale, ratios = operation.scale, operation.ratio
    height, width = size_N2[:, 0], size_N2[:, 1]
    u_N10x4 = torch.rand(len(size_N2), 10, 4, generator=rng)
    area = (height * width)[:, None] * torch.lerp(*_ends(scale), u_N10x4[..., 0])
    ratio = torch.lerp(*_ends((math.log(ratios[0]), math.log(ratios[1]))), u_N10x4[..., 1]).exp()
    w, h = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (w >= 1) & (h >= 1) & (w <= width[:, None]) & (h <= height[:, None])
    first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)
    w, h = w.gather(1, first)[:, 0], h.gather(1, first)[:, 0]
    top = (u_N10x4[..., 2].gather(1, first)[:, 0] * (height - h + 1)).floor()
    left = (u_N10x4[..., 3].gather(1, first)[:, 0] * (width - w + 1)).floor()
    found = fits.any(dim=1)
    w_centre = torch.minimum(width, (height * ratios[1]).round())
    h_centre = torch.minimum(height, (width / ratios[0]).round())
    centre = ((height - h_centre) / 2).floor(), ((width - w_centre) / 2).floor(), h_centre, w_centre
    drawn = top, left, h, w
    return tuple(torch.where(found, a, b) for a, b in zip(drawn, centre, strict=True))  # type: ignore[return-value]


@draw.register
def _(operation: RandomCrop, geometry: Geometry, size: int, rng: torch.Generator) -> None:
    room_N2 = (geometry.size_N2 + 2 * operation.padding - size).clamp(min=0)
    corner_N2 = (torch.rand(room_N2.shape, generator=rng) * (room_N2 + 1)).floor() - operation.padding
    one = torch.ones(len(room_N2))
    geometry.reflect |= operation.padding_mode == "reflect"
    geometry.compose(scale_shift(one, one, corner_N2[:, 1], corner_N2[:, 0]), torch.full_like(room_N2, size))


@draw.register
def _(operation: RandomFlip, geometry: Geometry, size: int, rng: torch.Generator) -> None:
    flip = torch.rand(len(geometry.size_N2), generator=rng) < operation.p
    sign = torch.where(flip, -1.0, 1.0)
    one, zero = torch.ones_like(sign), torch.zeros_like(sign)
    height, width = geometry.size_N2[:, 0], geometry.size_N2[:, 1]
    if operation.axis == "horizontal":
        map_N33 = scale_shift(sign, one, torch.where(flip, width, zero), zero)
    else:
        map_N33 = scale_shift(one, sign, zero, torch.where(flip, height, zero))
    geometry.compose(map_N33, geometry.size_N2)


@draw.register
def _(operation: RandomRotation, geometry: Geometry, size: int, rng: torch.Generator) -> None:
    u_N = torch.rand(len(geometry.size_N2), generator=rng)
    geometry.compose(rotation(geometry.size_N2, (2 * u_N - 1) * math.radians(operation.degrees)), geometry.size_N2)


@draw.register
def _(operation: Squash, geometry: Geometry, size: int, rng: torch.Generator) -> None:
    height, width = geometry.size_N2[:, 0], geometry.size_N2[:, 1]
    zero = torch.zeros_like(width)
    map_N33 = scale_shift(width / size, height / size, zero, zero)
    geometry.compose(map_N33, torch.full_like(geometry.size_N2, size))


def rotation(size_N2: Tensor, angle_N: Tensor) -> Tensor:
    """Make the maps (N, 3, 3) that rotate images of a size (height, width) about their centre, by radians."""
    cos, sin = angle_N.cos(), angle_N.sin()
    y, x = size_N2[:, 0] / 2, size_N2[:, 1] / 2
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    rows = [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y, zero, zero, one]
    return torch.stack(rows, dim=-1).reshape(-1, 3, 3)


def centre_crop(geometry: Geometry, size: int) -> None:
    """Compose torchvision's `CenterCrop(size)`, whose corner is rounded (half to even) to whole pixels."""
    corner_N2 = ((geometry.size_N2 - size) / 2).round()
    one = torch.ones(len(corner_N2))
    geometry.compose(scale_shift(one, one, corner_N2[:, 1], corner_N2[:, 0]), torch.full_like(corner_N2, size))


def mirrored(point: Tensor, extent: Tensor) -> Tensor:
    """Reflect points at the centres of the border pixels (numpy's `reflect`, torchvision's): -0.5 becomes 1.5."""
    span = (extent - 1).clamp(min=1)
    return span - (torch.remainder(point - 0.5, 2 * span) - span).abs() + 0.5


def _ends(pair: tuple[float, float]) -> tuple[Tensor, Tensor]:
    return torch.tensor(pair[0]), torch.tensor(pair[1])
