"""Erases parts of images with the mean colour: boxes are drawn for all images at once, and erased batch by batch.

Shapes: N images of a split, B of a batch, S px of the square; `box_N4` is (top, left, bottom, right) in px, float32.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from transferlab.core.runtime.device import upload
from transferlab.core.transforms.operations import Cutout, ErasingOperation, RandomErasing


def boxes(operation: ErasingOperation, n: int, size: int, rng: torch.Generator) -> Tensor:
    """Draw box_N4 for images of `size` px."""
    if isinstance(operation, Cutout):
        box_N4 = _squares(operation, n, size, rng)
    else:
        box_N4 = _rectangles(operation, n, size, rng)
    return box_N4 * (torch.rand(n, 1, generator=rng) < operation.p)  # with that probability, else an empty one


def _squares(operation: Cutout, n: int, size: int, rng: torch.Generator) -> Tensor:
    corner_N2 = torch.randint(size, (n, 2), generator=rng) - operation.size // 2
    return torch.cat([corner_N2, corner_N2 + operation.size], dim=1).float()


def _rectangles(operation: RandomErasing, n: int, size: int, rng: torch.Generator) -> Tensor:
    """Draw the first of ten tries that fits, else nothing."""
    u_N10x4 = torch.rand(n, 10, 4, generator=rng)
    low, high = operation.scale
    area_N10 = size * size * (low + (high - low) * u_N10x4[..., 0])
    low, high = math.log(operation.ratio[0]), math.log(operation.ratio[1])
    ratio_N10 = (low + (high - low) * u_N10x4[..., 1]).exp()
    sides_N10x2 = torch.stack([area_N10 * ratio_N10, area_N10 / ratio_N10], dim=-1).sqrt().round()
    fits_N10 = (sides_N10x2 < size).all(dim=-1)
    first_N = fits_N10.to(torch.uint8).argmax(dim=1)
    each_N = torch.arange(n)
    sides_N2 = sides_N10x2[each_N, first_N] * fits_N10.any(dim=1, keepdim=True)
    corner_N2 = (u_N10x4[each_N, first_N, 2:] * (size - sides_N2 + 1)).floor()
    return torch.cat([corner_N2, corner_N2 + sides_N2], dim=1)


def inside(box_B4: Tensor, x_B3SS: Tensor) -> Tensor:
    """Return which pixels of a batch lie inside their image's box, (B, 1, S, S) bool on the batch's device."""
    top, left, bottom, right = upload(box_B4, x_B3SS.device)[:, :, None].unbind(dim=1)
    at_S = torch.arange(x_B3SS.shape[-1], device=x_B3SS.device)
    rows_BS, columns_BS = (top <= at_S) & (at_S < bottom), (left <= at_S) & (at_S < right)
    return (rows_BS[:, :, None] & columns_BS[:, None, :])[:, None]


def erase(x_B3SS: Tensor, box_B4: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """Fill every image's box with one colour."""
    fill_3 = upload(torch.tensor(colour, dtype=x_B3SS.dtype), x_B3SS.device)
    return torch.where(inside(box_B4, x_B3SS), fill_3[:, None, None], x_B3SS)
