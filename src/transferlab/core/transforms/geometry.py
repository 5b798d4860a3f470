"""Defines geometric operations: each maps points of its output to points of its input.

Points are continuous: pixel (0, 0) covers [0, 1) x [0, 1), and its centre is (0.5, 0.5).

Shapes: N images of the split; `..._N33` and `..._N23` are affine maps, from output (x, y, 1) to source (x, y).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from transferlab.core.validation import check


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


@dataclass(frozen=True, kw_only=True)
class RandomResizedCrop:
    """Crops a random area and aspect ratio, resized to the input size (torchvision's algorithm, GoogLeNet's recipe).

    Attributes:
        scale: least and greatest area of the crop, as parts of the image's.
        ratio: least and greatest aspect ratio, width by height; drawn log-uniformly.
        size: of the output, px; null is the network's input size.
    """

    name: Literal["random_resized_crop"] = "random_resized_crop"
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    size: int | None = None

    def __post_init__(self) -> None:
        check(
            (0 < self.scale[0] <= self.scale[1] <= 1, "scale", self.scale, "must be 0 < least <= greatest <= 1"),
            (0 < self.ratio[0] <= self.ratio[1], "ratio", self.ratio, "must be 0 < least <= greatest"),
            (self.size is None or self.size >= 1, "size", self.size, "must be at least 1 px, or null"),
        )

    def box(self, size_N2: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw (top, left, height, width) in px, each (N,): the first of ten tries that fits, else the centre."""
        height, width = size_N2[:, 0], size_N2[:, 1]
        u_N10x4 = torch.rand(len(size_N2), 10, 4, generator=rng)
        area = (height * width)[:, None] * torch.lerp(*_ends(self.scale), u_N10x4[..., 0])
        ratio = torch.lerp(*_ends((math.log(self.ratio[0]), math.log(self.ratio[1]))), u_N10x4[..., 1]).exp()
        w, h = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
        fits = (w >= 1) & (h >= 1) & (w <= width[:, None]) & (h <= height[:, None])
        first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)
        w, h = w.gather(1, first)[:, 0], h.gather(1, first)[:, 0]
        top = (u_N10x4[..., 2].gather(1, first)[:, 0] * (height - h + 1)).floor()
        left = (u_N10x4[..., 3].gather(1, first)[:, 0] * (width - w + 1)).floor()
        found = fits.any(dim=1)
        w_centre = torch.minimum(width, (height * self.ratio[1]).round())
        h_centre = torch.minimum(height, (width / self.ratio[0]).round())
        centre = ((height - h_centre) / 2).floor(), ((width - w_centre) / 2).floor(), h_centre, w_centre
        drawn = top, left, h, w
        return tuple(torch.where(found, a, b) for a, b in zip(drawn, centre, strict=True))  # type: ignore[return-value]

    def draw(self, geometry: Geometry, size: int, rng: torch.Generator) -> None:
        """Compose one crop per image."""
        out = self.size or size
        top, left, height, width = self.box(geometry.size_N2, rng)
        geometry.compose(scale_shift(width / out, height / out, left, top), torch.full_like(geometry.size_N2, out))


@dataclass(frozen=True, kw_only=True)
class RandomCrop:
    """Crops the input size at a random place, after padding: torchvision's `RandomCrop`.

    Attributes:
        padding: px on every side.
        padding_mode: what lies in the padding, `zeros` or `reflect`.
    """

    name: Literal["random_crop"] = "random_crop"
    padding: int = 0
    padding_mode: Literal["zeros", "reflect"] = "zeros"

    def __post_init__(self) -> None:
        check((self.padding >= 0, "padding", self.padding, "must be at least 0 px"))

    def draw(self, geometry: Geometry, size: int, rng: torch.Generator) -> None:
        """Compose one crop per image."""
        room_N2 = (geometry.size_N2 + 2 * self.padding - size).clamp(min=0)
        corner_N2 = (torch.rand(room_N2.shape, generator=rng) * (room_N2 + 1)).floor() - self.padding
        one = torch.ones(len(room_N2))
        geometry.reflect |= self.padding_mode == "reflect"
        geometry.compose(scale_shift(one, one, corner_N2[:, 1], corner_N2[:, 0]), torch.full_like(room_N2, size))


@dataclass(frozen=True, kw_only=True)
class RandomFlip:
    """Mirrors an image with probability `p`.

    Attributes:
        axis: `horizontal` swaps left and right, `vertical` top and bottom.
        p: the probability.
    """

    name: Literal["random_flip"] = "random_flip"
    axis: Literal["horizontal", "vertical"] = "horizontal"
    p: float = 0.5

    def __post_init__(self) -> None:
        check((0 <= self.p <= 1, "p", self.p, "must be between 0 and 1"))

    def draw(self, geometry: Geometry, size: int, rng: torch.Generator) -> None:
        """Compose a flip for the images drawn."""
        flip = torch.rand(len(geometry.size_N2), generator=rng) < self.p
        sign = torch.where(flip, -1.0, 1.0)
        one, zero = torch.ones_like(sign), torch.zeros_like(sign)
        height, width = geometry.size_N2[:, 0], geometry.size_N2[:, 1]
        if self.axis == "horizontal":
            map_N33 = scale_shift(sign, one, torch.where(flip, width, zero), zero)
        else:
            map_N33 = scale_shift(one, sign, zero, torch.where(flip, height, zero))
        geometry.compose(map_N33, geometry.size_N2)


@dataclass(frozen=True, kw_only=True)
class RandomRotation:
    """Rotates about the centre by an angle drawn uniformly; what comes from outside the image is black.

    Attributes:
        degrees: the greatest angle, in either direction.
    """

    name: Literal["random_rotation"] = "random_rotation"
    degrees: float

    def __post_init__(self) -> None:
        check((0 <= self.degrees <= 180, "degrees", self.degrees, "must be between 0 and 180"))

    def draw(self, geometry: Geometry, size: int, rng: torch.Generator) -> None:
        """Compose one rotation per image."""
        u_N = torch.rand(len(geometry.size_N2), generator=rng)
        angle = (2 * u_N - 1) * math.radians(self.degrees)
        cos, sin = angle.cos(), angle.sin()
        y, x = geometry.size_N2[:, 0] / 2, geometry.size_N2[:, 1] / 2
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        rows = [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y, zero, zero, one]
        geometry.compose(torch.stack(rows, dim=-1).reshape(-1, 3, 3), geometry.size_N2)


@dataclass(frozen=True, kw_only=True)
class Squash:
    """Shows the whole image at the input size, without keeping its proportions; sampled without antialiasing."""

    name: Literal["squash"] = "squash"

    def draw(self, geometry: Geometry, size: int, rng: torch.Generator) -> None:
        """Compose the same for every image; nothing is drawn."""
        height, width = geometry.size_N2[:, 0], geometry.size_N2[:, 1]
        zero = torch.zeros_like(width)
        map_N33 = scale_shift(width / size, height / size, zero, zero)
        geometry.compose(map_N33, torch.full_like(geometry.size_N2, size))


GeometricOperation = RandomResizedCrop | RandomCrop | RandomFlip | RandomRotation | Squash


def centre_crop(geometry: Geometry, size: int) -> None:
    """Compose torchvision's `CenterCrop(size)`, whose corner is rounded (half to even) to whole pixels."""
    corner_N2 = ((geometry.size_N2 - size) / 2).round()
    one = torch.ones(len(corner_N2))
    geometry.compose(scale_shift(one, one, corner_N2[:, 1], corner_N2[:, 0]), torch.full_like(corner_N2, size))


def _ends(pair: tuple[float, float]) -> tuple[Tensor, Tensor]:
    return torch.tensor(pair[0]), torch.tensor(pair[1])
