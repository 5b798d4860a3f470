"""Images of more than 8 bits: their values, and what of them is black and white."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferlab.core.data.decoding.errors import UnusableImageError
from transferlab.core.data.decoding.levels import Levels

GREY_16 = {"I;16", "I;16L", "I;16B", "I;16N"}  # PIL's modes
BITS, PHOTOMETRIC, ORIENTATION, SAMPLE_FORMAT = 258, 262, 274, 339  # TIFF 6.0, section 8; section 19
WHITE_IS_ZERO, UNSIGNED = 0, 1
JPEG_2000_START = b"\xff\x4f\xff\x51"  # ISO/IEC 15444-1, annex A: start of codestream, then the sizes
JPEG_2000_DEPTH_AT = 42  # from there: the bits of the first component, less 1; the highest bit says signed


@dataclass(frozen=True)
class Deep:
    """Values of more than 8 bits, or such of 8 as Pillow does not read.

    Attributes:
        pixels: values_HW or values_HW3, of the type that the file has.
        highest: the value that is white by the file's own words; None where it does not say.
        transparent: the value that is transparent.
        orientation: how the camera was held, as EXIF and TIFF number it; 1 is upright.
    """

    pixels: NDArray[Any]
    highest: int | None
    transparent: int | None = None
    orientation: int = 1

    @property
    def needs_levels(self) -> bool:
        """Whether it is left to the data set what is black and white."""
        return self.pixels.dtype != np.uint8


def grey_of(image: Image.Image) -> Deep | None:
    """Return the values of a loaded image; None where PIL gives colours, or grey of 8 bits.

    A TIFF whose zero is white is inverted (PIL does so at 8 bits only).
    """
    tags = getattr(image, "tag_v2", {})
    orientation = image.getexif().get(ORIENTATION, 1)
    if image.mode in GREY_16:
        highest = 2 ** (tags.get(BITS, (16,))[0]) - 1
        pixels_HW = np.asarray(image).astype(np.uint16)
        if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            pixels_HW = highest - pixels_HW
        transparent = image.info.get("transparency")
        return Deep(pixels_HW, highest, transparent if isinstance(transparent, int) else None, orientation)
    if image.mode == "I":
        pixels_HW = np.asarray(image)
        if tags.get(BITS) == (32,) and tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0] == UNSIGNED:
            pixels_HW = pixels_HW.view(np.uint32)
        return Deep(pixels_HW, 65535 if image.format in {"PNG", "PPM"} else None, orientation=orientation)
    return Deep(np.asarray(image), None, orientation=orientation) if image.mode == "F" else None


def to_rgb(deep: Deep, levels: Levels | None) -> Image.Image:
    """Scale to 8 bits: by `levels`, or where there are none by the whole range of the file's bits.

    Raises:
        UnusableImageError: there are no levels, and the file does not say what is white.
    """
    if not deep.needs_levels:
        return Image.fromarray(deep.pixels).convert("RGB")
    if levels is None:
        if deep.highest is None:
            raise UnusableImageError(
                f"Its pixels are numbers ({deep.pixels.dtype}) without a range from black to white: set dataset.range."
            )
        levels = Levels(low=0, high=deep.highest)
    grey_HW = levels.to_8_bits(deep.pixels)
    if deep.transparent is not None:
        grey_HW[deep.pixels == deep.transparent] = 255  # over white, as everywhere
    return Image.fromarray(grey_HW).convert("RGB")


def check_readable(image: Image.Image, data: bytes) -> None:
    """Refuse what PIL reads wrongly: in JPEG 2000 with colours of more than 8 bits it turns white to black.

    Raises:
        UnusableImageError: it is such an image.
    """
    start = data.find(JPEG_2000_START) if image.format == "JPEG2000" else -1
    if start < 0 or image.mode in GREY_16 or len(data) <= start + JPEG_2000_DEPTH_AT:
        return
    bits = (data[start + JPEG_2000_DEPTH_AT] & 0x7F) + 1
    if bits > 8:
        raise UnusableImageError(
            f"It is a JPEG 2000 image with colours of {bits} bits, which Pillow does not read right: convert it to PNG."
        )
