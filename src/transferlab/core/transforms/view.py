"""Turns stored images into the batch that a network sees: resize, crop, augment, normalise, one resample per image.

The *held-out view* is torchvision's `Resize` then `CenterCrop` (or squash); the store has done the resize, so the crop
only copies pixels. An augmented view replaces the crop by the operations of `augment`.

Shapes: N images of a split, B of a batch, S px of the square the network sees.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferlab.core.data.store import Resize
from transferlab.core.runtime.device import upload
from transferlab.core.transforms import augment, color, erase, geometry
from transferlab.core.transforms.input import Input, Preset
from transferlab.core.transforms.operations import Operation, Squash
from transferlab.core.transforms.pixels import Pixels
from transferlab.core.transforms.resample import resample


@dataclass(frozen=True, kw_only=True)
class View:
    """An `Input` with every value resolved; each checkpoint stores one."""

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
        """Return a view of the same part of the image at another size; None returns this view."""
        return self if size is None else replace(self, size=size, resize=round(self.resize * size / self.size))

    def draw(
        self, shapes_N2: NDArray[np.int64], operations: tuple[Operation, ...], rng: torch.Generator | None
    ) -> augment.Draws:
        """Draw the view of every image of a split, given their stored sizes (h, w); no operations: held-out."""
        if not operations and self.held_out == "squash":
            operations = (Squash(),)
        return augment.draw(operations, self._resized(shapes_N2), self.size, rng or torch.Generator())

    def render(self, images: Pixels, draws_B: augment.Draws) -> Tensor:
        """Render the normalised batch x_B3SS, float32 on the device, from B images and their draws."""
        x_B3SS = self.pixels(images, draws_B)
        mean, std = upload(torch.tensor([self.mean, self.std]), x_B3SS.device)[:, :, None, None]
        if x_B3SS.is_contiguous(memory_format=torch.channels_last):  # whole lines are faster than pixel by pixel
            line_BSX = x_B3SS.permute(0, 2, 3, 1).flatten(2)
            line_BSX.sub_(mean.flatten().repeat(self.size)).div_(std.flatten().repeat(self.size))
            return x_B3SS
        return x_B3SS.sub_(mean).div_(std)

    def pixels(self, images: Pixels, draws_B: augment.Draws) -> Tensor:
        """Render the batch without normalisation, values in [0, 1], for a figure."""
        x_B3SS = resample(images, draws_B, self.size, self.interpolation)
        for step_B2 in draws_B.colour_N2:
            x_B3SS = color.adjust(x_B3SS, step_B2)
        for box_B4 in draws_B.erased_N4:
            x_B3SS = erase.erase(x_B3SS, box_B4, self.mean)
        return x_B3SS

    def _resized(self, shapes_N2: NDArray[np.int64]) -> geometry.Geometry:
        """Begin with the image at its resized size; one stored smaller (none is enlarged on disk) is enlarged here."""
        stored_N2 = torch.from_numpy(np.array(shapes_N2, dtype=np.float32))
        size_N2 = resized_shape(stored_N2, self.resize, self.mode)
        scale_N2 = stored_N2 / size_N2
        zero = torch.zeros(len(stored_N2))
        return geometry.Geometry(size_N2, geometry.scale_shift(scale_N2[:, 1], scale_N2[:, 0], zero, zero))


def resized_shape(shape_N2: Tensor, resize: int, mode: str) -> Tensor:
    """Compute heights and widths after torchvision's `Resize(resize)`; the long side is rounded down."""
    if mode == "squash":
        return torch.full_like(shape_N2, resize)
    short_N1 = shape_N2.amin(dim=1, keepdim=True)
    return torch.where(shape_N2 == short_N1, float(resize), (resize * shape_N2.double() / short_N1).floor().float())


def resolve(config: Input, preset: Preset, statistics: dict[str, Any] | None) -> View:
    """Fill in what `config` leaves open, from the weights' preset; without weights, the data's statistics normalise.

    Args:
        config: what the user wrote.
        preset: of the weights.
        statistics: `mean` and `std` of the training split, and of those by the key of each store (`stores`) if they
            are known; None where only the geometry matters (then 0 and 1).
    """
    size = config.size or preset.size
    view = View(
        size=size,
        resize=config.resize or (size if config.mode == "squash" else round(size * preset.resize / preset.size)),
        mode=config.mode,
        held_out=config.held_out,
        interpolation=config.interpolation or preset.interpolation,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    found = statistics or asdict(view)
    own = found.get("stores", {}).get(view.stored_as.key, found)
    return replace(
        view,
        mean=config.mean or preset.mean or tuple(own["mean"]),
        std=config.std or preset.std or tuple(own["std"]),
    )
