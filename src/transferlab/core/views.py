"""From stored images to the batch a network sees: resize, crop, augment, normalise - one resample per image.

The *held-out view* is torchvision's `Resize` then `CenterCrop` (or squash); the store has done the resize, so the crop
only copies pixels. An augmented view replaces the crop by the operations of `augment`.

Shapes: N images of a split, B of a batch, S px of the square the network sees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from transferlab.core import augment, color, erase
from transferlab.core.canvas import Pixels
from transferlab.core.device import upload
from transferlab.core.problems import check
from transferlab.core.store import Resize

MOST_WASTED_PIXELS = 1 << 25  # 400 MB as float32


@dataclass(frozen=True, kw_only=True)
class Input:
    """What the network sees; null follows the pretrained weights.

    Attributes:
        size: px of the square given to the network.
        resize: px of the short side before the centre crop to `size`; by default in the weights' own proportion to it.
        mode: `short_side` keeps the aspect ratio, `squash` resizes both sides to `resize`.
        held_out: what held-out images show after the resize: the `centre_crop`, or all of it by `squash`.
        interpolation: of the resize.
        mean: per channel (R, G, B), of values in [0, 1]; without weights, the training split's.
        std: likewise.
    """

    size: int | None = None
    resize: int | None = None
    mode: Literal["short_side", "squash"] = "short_side"
    held_out: Literal["centre_crop", "squash"] = "centre_crop"
    interpolation: Literal["bilinear", "bicubic"] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        check(
            (self.size is None or self.size >= 8, "size", self.size, "must be at least 8 px, or null"),
            (self.resize is None or self.resize >= (self.size or 8), "resize", self.resize, "must be at least size"),
            (self.std is None or min(self.std) > 0, "std", self.std, "must be positive"),
            ((self.mean is None) == (self.std is None), "mean", self.mean, "and std must be given together"),
        )


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The input that pretrained weights were made with, or the defaults of a network that has none."""

    size: int
    resize: int
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class View:
    """An `Input` with everything settled: it is stored in each checkpoint."""

    size: int
    resize: int
    mode: Literal["short_side", "squash"]
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    held_out: Literal["centre_crop", "squash"] = "centre_crop"

    @property
    def stored_as(self) -> Resize:
        """The resize that the image store does once."""
        return Resize(size=self.resize, mode=self.mode, interpolation=self.interpolation)

    def at(self, size: int | None) -> View:
        """The same part of the image at another size; None is this view."""
        return self if size is None else replace(self, size=size, resize=round(self.resize * size / self.size))

    def draw(
        self, shapes_N2: NDArray[np.int64], operations: tuple[augment.Operation, ...], rng: torch.Generator | None
    ) -> augment.Draws:
        """Draw the view of every image of a split, given their stored sizes (h, w); no operations: held-out."""
        if not operations and self.held_out == "squash":
            operations = (augment.Squash(),)
        return augment.draw(operations, self._resized(shapes_N2), self.size, rng or torch.Generator())

    def render(self, images: Pixels, draws_B: augment.Draws) -> Tensor:
        """The normalised batch x_B3SS, float32 on the device, from B images and their draws."""
        x_B3SS = self.pixels(images, draws_B)
        mean, std = upload(torch.tensor([self.mean, self.std]), x_B3SS.device)[:, :, None, None]
        return x_B3SS.sub_(mean).div_(std)

    def pixels(self, images: Pixels, draws_B: augment.Draws) -> Tensor:
        """The batch before normalisation, values in [0, 1]: what a figure shows."""
        x_B3SS = resample(images, draws_B, self.size, self.interpolation)
        for table_B8 in draws_B.colour_N8:
            x_B3SS = color.jitter(x_B3SS, table_B8)
        for box_B4 in draws_B.erased_N4:
            x_B3SS = erase.erase(x_B3SS, box_B4, self.mean)
        return x_B3SS

    def _resized(self, shapes_N2: NDArray[np.int64]) -> augment.Geometry:
        """Begin with the image at its resized size; stored smaller (never enlarged on disk), it is enlarged here."""
        stored_N2 = torch.from_numpy(np.array(shapes_N2, dtype=np.float32))
        size_N2 = resized_shape(stored_N2, self.resize, self.mode)
        scale_N2 = stored_N2 / size_N2
        zero = torch.zeros(len(stored_N2))
        return augment.Geometry(size_N2, augment.scale_shift(scale_N2[:, 1], scale_N2[:, 0], zero, zero))


def resized_shape(shape_N2: Tensor, resize: int, mode: str) -> Tensor:
    """Heights and widths after torchvision's `Resize(resize)`: the long side is rounded down."""
    if mode == "squash":
        return torch.full_like(shape_N2, resize)
    short_N1 = shape_N2.amin(dim=1, keepdim=True)
    return torch.where(shape_N2 == short_N1, float(resize), (resize * shape_N2.double() / short_N1).floor().float())


def settle(config: Input, preset: Preset, statistics: dict[str, Any] | None) -> View:
    """Fill what `config` leaves open: from the weights' preset; unpretrained networks are normalised by the data.

    Args:
        config: what the user wrote.
        preset: of the weights.
        statistics: `mean` and `std` of the training split; None where only the geometry matters (then 0 and 1).
    """
    size = config.size or preset.size
    fallback = statistics or {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    mean = config.mean or preset.mean or tuple(fallback["mean"])
    std = config.std or preset.std or tuple(fallback["std"])
    return View(
        size=size,
        resize=config.resize or (size if config.mode == "squash" else round(size * preset.resize / preset.size)),
        mode=config.mode,
        held_out=config.held_out,
        interpolation=config.interpolation or preset.interpolation,
        mean=mean,
        std=std,
    )


def resample(images: Pixels, draws_B: augment.Draws, size: int, interpolation: str) -> Tensor:
    """Sample every image at the mapped centres of the output's pixels: x_B3SS in [0, 1], float32.

    Points beyond an image are black, or mirrored where the draws say so; half a pixel at the border repeats the edge.
    """
    if _wasted_pixels(images.shape_N2) > MOST_WASTED_PIXELS:
        each = ((images.take(row), draws_B.take(row)) for row in torch.split(torch.arange(len(images.shape_N2)), 1))
        return torch.cat([resample(image, draws, size, interpolation) for image, draws in each])
    x_B3HW = images.canvas().permute(0, 3, 1, 2).float().div_(255)
    extent_B12 = upload(torch.from_numpy(images.shape_N2[:, None, ::-1].astype(np.float32)), x_B3HW.device)
    point_BP2 = _sampled(draws_B.map_N23, size, x_B3HW.device)
    if draws_B.reflect:
        point_BP2 = mirrored(point_BP2, extent_B12)
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
    """Whether no point lies beyond its image: none does where the corners do not, since the maps are affine."""
    first, last = 0.5, size - 0.5
    corners_34 = torch.tensor([[first, last, first, last], [first, first, last, last], [1.0, 1.0, 1.0, 1.0]])
    point_B24 = (map_B23 @ corners_34).numpy()
    return bool(((point_B24 >= 0) & (point_B24 <= shape_B2[:, ::-1, None])).all())


def _sampled(map_B23: Tensor, size: int, device: torch.device) -> Tensor:
    """Where each image is sampled: the centres of the output's S x S pixels, mapped, as points (x, y), (B, P, 2)."""
    centres_S = torch.arange(size, device=device) + 0.5
    y_SS, x_SS = torch.meshgrid(centres_S, centres_S, indexing="ij")
    out_3P = torch.stack([x_SS.reshape(-1), y_SS.reshape(-1), torch.ones(size * size, device=device)])
    return (upload(map_B23, device) @ out_3P).transpose(1, 2)


def mirrored(point: Tensor, extent: Tensor) -> Tensor:
    """Reflect points at the centres of the border pixels (numpy's `reflect`, torchvision's): -0.5 becomes 1.5."""
    span = (extent - 1).clamp(min=1)
    return span - (torch.remainder(point - 0.5, 2 * span) - span).abs() + 0.5


def _wasted_pixels(shape_B2: NDArray[np.int64]) -> int:
    """What of a canvas for all images would be empty: much where a very wide one meets a very tall one."""
    return int(len(shape_B2) * shape_B2.max(axis=0).prod() - shape_B2.prod(axis=1).sum())
