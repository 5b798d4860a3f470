"""Samples each stored image once, through the composed affine map of its view.

Shapes: B images of a batch, S px of the output's side, P = S * S sampled points.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from transferlab.core.runtime.device import upload
from transferlab.core.transforms import augment, geometry, separable
from transferlab.core.transforms.pixels import HostImages, Pixels

MOST_WASTED_PIXELS = 1 << 25  # 400 MB as float32
# Where `separable` is the faster way: px of the output, and threads, which `at_points` shares images out between.
LEAST_SEPARABLE = 96
MOST_SEPARABLE_THREADS = {"bicubic": 4, "bilinear": 1}


def resample(images: Pixels, draws_B: augment.Draws, size: int, interpolation: str) -> Tensor:
    """Sample every image at the mapped centres of the output's pixels: x_B3SS in [0, 1], float32.

    Points beyond an image are black, or mirrored where the draws say so; half a pixel at the border repeats the edge.

    Bicubic sampling is torch's, with Keys' constant a = -0.75, where PIL has -0.5. An image that is smaller than its
    view's resize is enlarged here, and its pixels then differ from PIL's: by up to 0.17 of their range on noise, by
    0.02 where neighbours are alike. Larger images do not differ, since PIL itself reduces them when they are stored.
    """
    is_faster = size >= LEAST_SEPARABLE and torch.get_num_threads() <= MOST_SEPARABLE_THREADS[interpolation]
    is_upright = is_faster and bool(separable.is_upright(draws_B.map_N23).all())
    if isinstance(images, HostImages) and images.device.type == "cpu" and is_upright:
        return separable.sample(images, draws_B.map_N23, size, interpolation, draws_B.reflect)
    return at_points(images, draws_B, size, interpolation)


def at_points(images: Pixels, draws_B: augment.Draws, size: int, interpolation: str) -> Tensor:
    """Sample every point of the output by itself, as `resample` says."""
    if _wasted_pixels(images.shape_N2) > MOST_WASTED_PIXELS:
        each = ((images.take(row), draws_B.take(row)) for row in torch.split(torch.arange(len(images.shape_N2)), 1))
        return torch.cat([at_points(image, draws, size, interpolation) for image, draws in each])
    x_B3HW = images.canvas().permute(0, 3, 1, 2).float().div_(255)
    extent_B12 = upload(torch.from_numpy(images.shape_N2[:, None, ::-1].astype(np.float32)), x_B3HW.device)
    point_BP2 = _sampled(draws_B.map_N23, size, x_B3HW.device)
    if draws_B.reflect:
        point_BP2 = geometry.mirrored(point_BP2, extent_B12)
    sampled_BP2 = torch.minimum(point_BP2.clamp(min=0.5), extent_B12 - 0.5)
    canvas_2 = upload(torch.tensor([x_B3HW.shape[3], x_B3HW.shape[2]]), x_B3HW.device)
    grid_BSS2 = (2 * sampled_BP2 / canvas_2 - 1).reshape(-1, size, size, 2)
    mode = "bicubic" if interpolation == "bicubic" else "bilinear"
    out_B3SS = functional.grid_sample(x_B3HW, grid_BSS2, mode=mode, padding_mode="border", align_corners=False)
    out_B3SS.clamp_(0, 1)
    if draws_B.reflect or _is_inside(draws_B.map_N23, size, images.shape_N2):
        return out_B3SS
    inside_BP = ((point_BP2 >= 0) & (point_BP2 <= extent_B12)).all(dim=2)
    return out_B3SS.mul_(inside_BP.reshape(-1, 1, size, size))


def _is_inside(map_B23: Tensor, size: int, shape_B2: NDArray[np.int64]) -> bool:
    """Return whether all points lie inside their image. Maps are affine, so it is enough to check the corners."""
    first, last = 0.5, size - 0.5
    corners_34 = torch.tensor([[first, last, first, last], [first, first, last, last], [1.0, 1.0, 1.0, 1.0]])
    point_B24 = (map_B23 @ corners_34).numpy()
    return bool(((point_B24 >= 0) & (point_B24 <= shape_B2[:, ::-1, None])).all())


def _sampled(map_B23: Tensor, size: int, device: torch.device) -> Tensor:
    """Map the centres of the output's S x S pixels to the points (x, y) where each image is sampled, (B, P, 2)."""
    centres_S = torch.arange(size, device=device) + 0.5
    y_SS, x_SS = torch.meshgrid(centres_S, centres_S, indexing="ij")
    out_3P = torch.stack([x_SS.reshape(-1), y_SS.reshape(-1), torch.ones(size * size, device=device)])
    return (upload(map_B23, device) @ out_3P).transpose(1, 2)


def _wasted_pixels(shape_B2: NDArray[np.int64]) -> int:
    """Count the repeated pixels of a canvas for all images: many if a very wide one meets a very tall one."""
    return int(len(shape_B2) * shape_B2.max(axis=0).prod() - shape_B2.prod(axis=1).sum())
