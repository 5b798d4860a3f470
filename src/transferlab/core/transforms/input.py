"""What a network sees, as a user configures it; `view` makes it. Config reads this: it needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from transferlab.core.validation import check

OF_UNIT = "of pixel values in [0, 1]; divide what is of 0 to 255 by 255"
LARGEST_SIZE = 1 << 14  # px: no network sees larger images, and a header must not make us allocate for one


@dataclass(frozen=True, kw_only=True)
class Input:
    """Says what the network sees, as a user configures it; null follows the pretrained weights.

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
            (self.mean is None or _in_unit(self.mean), "mean", self.mean, f"must be from 0 to 1: {OF_UNIT}"),
            (
                self.std is None or (_in_unit(self.std) and min(self.std) > 0),
                "std",
                self.std,
                f"must be above 0 and at most 1: {OF_UNIT}",
            ),
            ((self.mean is None) == (self.std is None), "mean", self.mean, "and std must be given together"),
        )


def _in_unit(values: tuple[float, ...]) -> bool:
    return min(values) >= 0 and max(values) <= 1


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Says what input pretrained weights were made with, or the defaults of a network that has none."""

    size: int
    resize: int
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
