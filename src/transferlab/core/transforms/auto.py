"""Draws one or a few of fourteen operations per image: TrivialAugment and RandAugment, as torchvision defines them.

Their geometry is composed into the view's one resample, and their colours follow it. So in a chain of several, colours
come after all geometry; and what comes from outside a crop is the image, where there is any.

Shapes: N images of the split; `step_N2` names a colour operation and its amount for each image; see `color.adjust`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from transferlab.core.transforms import color
from transferlab.core.transforms.geometry import Geometry, rotation
from transferlab.core.transforms.operations import MOST_MAGNITUDE, AutomaticOperation, TrivialAugment

_GEOMETRY = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
_SIGNED = ("brightness", "contrast", "saturation", "sharpness")
_KINDS = (*_GEOMETRY, *_SIGNED, "posterize", "solarize", "auto_contrast", "equalize", "identity")


@dataclass(frozen=True)
class _Space:
    """The strongest of each operation: tangent, px or share of the side, degrees, change of a factor, bits."""

    shear: float
    pixels: float
    share: float
    degrees: float
    factor: float
    bits: int


_WIDE = _Space(shear=0.99, pixels=32.0, share=0.0, degrees=135.0, factor=0.99, bits=6)
_RAND = _Space(shear=0.3, pixels=0.0, share=150 / 331, degrees=30.0, factor=0.9, bits=4)


def draw(operation: AutomaticOperation, geometry: Geometry, rng: torch.Generator) -> tuple[Tensor, ...]:
    """Compose the geometry of each image's operations and return their colours, a step_N2 for each."""
    n = len(geometry.size_N2)
    if isinstance(operation, TrivialAugment):
        level_N = torch.randint(MOST_MAGNITUDE + 1, (n,), generator=rng) / MOST_MAGNITUDE
        return (_draw(_WIDE, level_N, geometry, rng),)
    level_N = torch.full((n,), operation.magnitude / MOST_MAGNITUDE)
    return tuple(_draw(_RAND, level_N, geometry, rng) for _ in range(operation.operations))


def _draw(space: _Space, level_N: Tensor, geometry: Geometry, rng: torch.Generator) -> Tensor:
    """Draw an operation for each image at its level (0 to 1), compose its geometry, and return its colours."""
    kind_N = torch.randint(len(_KINDS), level_N.shape, generator=rng)
    sign_N = torch.where(torch.rand(level_N.shape, generator=rng) < 0.5, -1.0, 1.0)
    strength_N = sign_N * level_N
    _compose(space, {name: kind_N == place for place, name in enumerate(_KINDS)}, strength_N, geometry)
    amounts = {
        **dict.fromkeys(_SIGNED, 1 + space.factor * strength_N),
        "posterize": 8 - (space.bits * level_N).round(),
        "solarize": 1 - level_N,
    }
    step_N2 = torch.stack([torch.full_like(level_N, color.IDENTITY), level_N], dim=1)
    for place, name in enumerate(_KINDS):
        if name in color.KINDS:
            of_kind = torch.stack(
                [torch.full_like(level_N, color.KINDS.index(name)), amounts.get(name, level_N)], dim=1
            )
            step_N2 = torch.where((kind_N == place)[:, None], of_kind, step_N2)
    return step_N2


def _compose(space: _Space, is_kind: dict[str, Tensor], strength_N: Tensor, geometry: Geometry) -> None:
    """Compose shear, translation or rotation for the images that drew them."""
    amount = {name: torch.where(is_kind[name], strength_N, 0.0) for name in _GEOMETRY}
    height, width = geometry.size_N2[:, 0], geometry.size_N2[:, 1]
    geometry.compose(rotation(geometry.size_N2, amount["rotate"] * math.radians(space.degrees)), geometry.size_N2)
    map_N33 = torch.eye(3).repeat(len(strength_N), 1, 1)
    map_N33[:, 0, 1], map_N33[:, 1, 0] = space.shear * amount["shear_x"], space.shear * amount["shear_y"]
    map_N33[:, 0, 2] = (amount["translate_x"] * (space.pixels + space.share * width)).trunc()
    map_N33[:, 1, 2] = (amount["translate_y"] * (space.pixels + space.share * height)).trunc()
    geometry.compose(map_N33, geometry.size_N2)
