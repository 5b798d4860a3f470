"""Erases parts of images with the mean colour: boxes are drawn for all images at once, and erased batch by batch.

Shapes: N images of a split, B of a batch, S px of the square; `box_N4` is (top, left, bottom, right) in px, float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from transferlab.core.runtime.device import upload
from transferlab.core.validation import check


@dataclass(frozen=True, kw_only=True)
class Cutout:
    """Erases a square whose centre is anywhere in the image; it may extend beyond the edge (DeVries & Taylor 2017).

    Attributes:
        size: px of its side.
        p: the probability.
    """

    name: Literal["cutout"] = "cutout"
    size: int
    p: float = 1.0

    def __post_init__(self) -> None:
        check(
            (self.size >= 1, "size", self.size, "must be at least 1 px"),
            (0 <= self.p <= 1, "p", self.p, "must be between 0 and 1"),
        )

    def boxes(self, n: int, size: int, rng: torch.Generator) -> Tensor:
        """Draw box_N4 for images of `size` px."""
        corner_N2 = torch.randint(size, (n, 2), generator=rng) - self.size // 2
        return _kept(torch.cat([corner_N2, corner_N2 + self.size], dim=1).float(), self.p, rng)


@dataclass(frozen=True, kw_only=True)
class RandomErasing:
    """Erases a rectangle of random area and proportions: torchvision's `RandomErasing` (Zhong et al. 2017).

    Attributes:
        p: the probability.
        scale: least and greatest area, as parts of the image's.
        ratio: least and greatest height by width, drawn log-uniformly.
    """

    name: Literal["random_erasing"] = "random_erasing"
    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)

    def __post_init__(self) -> None:
        check(
            (0 <= self.p <= 1, "p", self.p, "must be between 0 and 1"),
            (0 < self.scale[0] <= self.scale[1] <= 1, "scale", self.scale, "must be 0 < least <= greatest <= 1"),
            (0 < self.ratio[0] <= self.ratio[1], "ratio", self.ratio, "must be 0 < least <= greatest"),
        )

    def boxes(self, n: int, size: int, rng: torch.Generator) -> Tensor:
        """Draw box_N4 for images of `size` px: the first of ten tries that fits, else nothing is erased."""
        u_N10x4 = torch.rand(n, 10, 4, generator=rng)
        low, high = self.scale
        area_N10 = size * size * (low + (high - low) * u_N10x4[..., 0])
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratio_N10 = (low + (high - low) * u_N10x4[..., 1]).exp()
        sides_N10x2 = torch.stack([area_N10 * ratio_N10, area_N10 / ratio_N10], dim=-1).sqrt().round()
        fits_N10 = (sides_N10x2 < size).all(dim=-1)
        first_N = fits_N10.to(torch.uint8).argmax(dim=1)
        each_N = torch.arange(n)
        sides_N2 = sides_N10x2[each_N, first_N] * fits_N10.any(dim=1, keepdim=True)
        corner_N2 = (u_N10x4[each_N, first_N, 2:] * (size - sides_N2 + 1)).floor()
        return _kept(torch.cat([corner_N2, corner_N2 + sides_N2], dim=1), self.p, rng)


def _kept(box_N4: Tensor, p: float, rng: torch.Generator) -> Tensor:
    """Each box with probability `p`, else an empty one."""
    return box_N4 * (torch.rand(len(box_N4), 1, generator=rng) < p)


def erase(x_B3SS: Tensor, box_B4: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """Fill every image's box with one colour."""
    top, left, bottom, right = upload(box_B4, x_B3SS.device)[:, :, None].unbind(dim=1)
    at_S = torch.arange(x_B3SS.shape[-1], device=x_B3SS.device)
    rows_BS, columns_BS = (top <= at_S) & (at_S < bottom), (left <= at_S) & (at_S < right)
    inside_B1SS = (rows_BS[:, :, None] & columns_BS[:, None, :])[:, None]
    fill_3 = upload(torch.tensor(colour, dtype=x_B3SS.dtype), x_B3SS.device)
    return torch.where(inside_B1SS, fill_3[:, None, None], x_B3SS)
