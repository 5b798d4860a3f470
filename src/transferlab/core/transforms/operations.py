"""The operations of an augmentation, as a user configures them. Config reads this: it needs no torch.

`geometry`, `color`, `auto` and `erase` draw and apply them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from transferlab.core.validation import check

MOST_MAGNITUDE = 30  # of RandAugment, in its own unit


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


@dataclass(frozen=True, kw_only=True)
class Squash:
    """Shows the whole image at the input size, without keeping its proportions; sampled without antialiasing."""

    name: Literal["squash"] = "squash"


GeometricOperation = RandomResizedCrop | RandomCrop | RandomFlip | RandomRotation | Squash


@dataclass(frozen=True, kw_only=True)
class ColorJitter:
    """Changes brightness, contrast, saturation and hue at random, in a random order: torchvision's `ColorJitter`.

    Attributes:
        brightness: factor drawn from [max(0, 1 - b), 1 + b]; contrast and saturation likewise.
        contrast: see brightness; blends with the mean grey of the image.
        saturation: see brightness; blends with the image in grey.
        hue: shift drawn from [-h, h], in turns of the colour circle; at most 0.5.
    """

    name: Literal["color_jitter"] = "color_jitter"
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        amounts = {"brightness": self.brightness, "contrast": self.contrast, "saturation": self.saturation}
        check(
            *((value >= 0, key, value, "must be at least 0") for key, value in amounts.items()),
            (0 <= self.hue <= 0.5, "hue", self.hue, "must be between 0 and 0.5"),
            (any(amounts.values()) or self.hue > 0, "brightness", 0.0, "and the others are all 0: changes nothing"),
        )


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


@dataclass(frozen=True, kw_only=True)
class TrivialAugment:
    """Applies one operation of random strength: torchvision's `TrivialAugmentWide` (Müller & Hutter 2021, 2103.10158).

    The operations are shear, translation, rotation, brightness, contrast, saturation, sharpness, posterise, solarise,
    auto-contrast, equalise and none.
    """

    name: Literal["trivial_augment"] = "trivial_augment"


@dataclass(frozen=True, kw_only=True)
class RandAugment:
    """Applies several operations of one strength: torchvision's `RandAugment` (Cubuk et al. 2020, arXiv 1909.13719).

    Attributes:
        operations: how many, one after the other.
        magnitude: their strength, from 0 to 30.
    """

    name: Literal["rand_augment"] = "rand_augment"
    operations: int = 2
    magnitude: int = 9

    def __post_init__(self) -> None:
        check(
            (1 <= self.operations <= 14, "operations", self.operations, "must be from 1 to 14"),
            (0 <= self.magnitude <= MOST_MAGNITUDE, "magnitude", self.magnitude, f"must be from 0 to {MOST_MAGNITUDE}"),
        )


ErasingOperation = Cutout | RandomErasing
AutomaticOperation = TrivialAugment | RandAugment
Operation = GeometricOperation | ColorJitter | AutomaticOperation | ErasingOperation
