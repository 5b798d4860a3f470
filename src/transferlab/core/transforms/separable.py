"""Samples images that are neither turned nor sheared, on a CPU: along the columns first, then along the rows.

The points of such a view form a grid, and the points of a line lie between the same rows of pixels. Bicubic
interpolation then sums 4 rows for each line and 4 columns for each column of points, in place of 16 pixels for each
point. Only the part of an image that is seen is read.

Shapes: B images, S px of the output's side, K pixels that are summed along an axis: 4 (bicubic) or 2 (bilinear), N
points of a line, or their channels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from transferlab.core.runtime.device import one_thread
from transferlab.core.transforms.geometry import mirrored
from transferlab.core.transforms.pixels import HostImages

_A = -0.75  # the constant of Keys' cubic, as in torch's `grid_sample`
_STEP = 16  # px that the width of what is read is a multiple of: torch makes code for each width, once


class Line(NamedTuple):
    """Where the points of one image lie along one axis.

    Attributes:
        first, end: the pixels that are read, from `first` to before `end`.
        place_NK: which of those, or of their channels, are summed for each point, int32.
        weight_NK: their weights, float32; 0 for a point beyond the image.
    """

    first: int
    end: int
    place_NK: Tensor
    weight_NK: Tensor


def is_upright(map_B23: Tensor) -> Tensor:
    """Tell which affine maps (x, y) -> (x, y) neither turn nor shear: bool (B,). A mirror image is upright."""
    return (map_B23[:, 0, 1] == 0) & (map_B23[:, 1, 0] == 0)


def sample(images: HostImages, map_B23: Tensor, size: int, interpolation: str, reflect: bool) -> Tensor:
    """Sample upright images at the mapped centres of the output's pixels: x_B3SS in [0, 1], float32, channels last.

    Up to rounding, `resample.at_points` does the same: points beyond an image are black, or mirrored with `reflect`.
    """
    extent_B2 = torch.from_numpy(images.shape_N2.astype(np.float32))
    centre_S = torch.arange(size) + 0.5
    y_BS, x_BS = (map_B23[:, axis, axis, None] * centre_S + map_B23[:, axis, 2, None] for axis in (1, 0))
    rows = _lines(y_BS, extent_B2[:, 0], interpolation, reflect)
    columns = _lines(x_BS, extent_B2[:, 1], interpolation, reflect, channels=3)
    out_BSS3 = torch.empty(len(extent_B2), size, size, 3)
    with one_thread():  # an image is too little to share out: it took longer, and five times as long on a busy machine
        for image, row, column, out_SX in zip(images.images, rows, columns, out_BSS3.flatten(2), strict=True):
            _sample_one(image, row, column, out_SX)
    return out_BSS3.permute(0, 3, 1, 2).clamp_(0, 255).div_(255)


def _sample_one(image_HW3: NDArray[np.uint8], row: Line, column: Line, out_SX: Tensor) -> None:
    """Sample an image; X counts columns, of the image or of the output, and their channels."""
    end = column.first + -(-(column.end - column.first) // _STEP) * _STEP  # or that of the image
    seen_HW3 = image_HW3[row.first : row.end, column.first : end].astype(np.float32, order="C")
    seen_HX = torch.from_numpy(seen_HW3).view(len(seen_HW3), -1)
    lines_SX = _sums(seen_HX, row)
    out_SX.copy_(_sums(lines_SX.t().contiguous(), column).t())


def _sums(table: Tensor, line: Line) -> Tensor:
    """Return weighted sums of K rows of a table, for each point."""
    return functional.embedding_bag(line.place_NK, table, mode="sum", per_sample_weights=line.weight_NK)


def _lines(point_BS: Tensor, extent_B: Tensor, interpolation: str, reflect: bool, channels: int = 1) -> list[Line]:
    """Find what is summed for the points of every image along one axis; see `Line`.

    Args:
        point_BS: the points, px.
        extent_B: px of the image.
        interpolation: `bicubic` or `bilinear`.
        reflect: points beyond the image are mirrored, not black.
        channels: of a pixel, which lie side by side along this axis; each of a point's is a sum of its own.
    """
    extent_B1 = extent_B[:, None]
    is_inside_BS = (point_BS >= 0) & (point_BS <= extent_B1)
    if reflect:
        point_BS = mirrored(point_BS, extent_B1)
    at_BS = torch.minimum(point_BS.clamp(min=0.5), extent_B1 - 0.5) - 0.5  # in pixels' centres
    pixel_BS = at_BS.floor()
    offset_K, weight_BSK = _weights(at_BS - pixel_BS, interpolation)
    if not reflect:
        weight_BSK = weight_BSK * is_inside_BS[..., None]
    place_BSK = torch.minimum((pixel_BS[..., None] + offset_K).clamp(min=0), extent_B1[..., None] - 1).int()
    first_B, last_B = place_BSK.amin(dim=(1, 2)), place_BSK.amax(dim=(1, 2))
    place_BSCK = channels * (place_BSK - first_B[:, None, None])[:, :, None] + torch.arange(channels).int()[:, None]
    place_BNK, weight_BNK = place_BSCK.flatten(1, 2), weight_BSK.repeat_interleave(channels, dim=1)
    return [
        Line(first, last + 1, *of_image)
        for first, last, *of_image in zip(first_B.tolist(), last_B.tolist(), place_BNK, weight_BNK, strict=True)
    ]


def _weights(after: Tensor, interpolation: str) -> tuple[Tensor, Tensor]:
    """Return which pixels count (K,), from the one before a point on, and how much: (..., K).

    Args:
        after: how far the point lies behind that pixel's centre, from 0 to 1 px.
        interpolation: `bicubic` or `bilinear`.
    """
    if interpolation == "bilinear":
        return torch.arange(2), torch.stack([1 - after, after], dim=-1)
    weights = [_far(1 + after), _near(after), _near(1 - after), _far(2 - after)]
    return torch.arange(-1, 3), torch.stack(weights, dim=-1)


def _near(distance: Tensor) -> Tensor:
    """Return Keys' cubic at distances of 0 to 1 pixel (Keys 1981, doi 10.1109/TASSP.1981.1163711)."""
    return ((_A + 2) * distance - (_A + 3)) * distance * distance + 1


def _far(distance: Tensor) -> Tensor:
    """Return Keys' cubic at distances of 1 to 2 pixels."""
    return ((_A * distance - 5 * _A) * distance + 8 * _A) * distance - 4 * _A
