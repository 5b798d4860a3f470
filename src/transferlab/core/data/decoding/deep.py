"""Images of more than 8 bits: their values, and what of them is black and white."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from transferlab.core.data.decoding.errors import UnusableImageError
from transferlab.core.data.decoding.levels import Levels

GREY_16 = {"I;16", "I;16L", "I;16B", "I;16N"}  # PIL's modes
# TIFF 6.0, sections 8 and 19
BITS, PHOTOMETRIC, ORIENTATION, PLANAR, SAMPLE_FORMAT = 258, 262, 274, 284, 339
WHITE_IS_ZERO, UNSIGNED, SIGNED, SEPARATE_PLANES = 0, 1, 2, 2
# Of colours of 16 bits PIL keeps one byte, the higher. Told that they have the other order, it gives the lower one.
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
JPEG_2000_START = b"\xff\x4f\xff\x51"  # ISO/IEC 15444-1, annex A: start of codestream, then the sizes
JPEG_2000_DEPTH_AT = 42  # from there: the bits of the first component, less 1; the highest bit says signed


@dataclass(frozen=True)
class Deep:
    """Values of more than 8 bits, or such of 8 as Pillow does not read.

    Attributes:
        pixels: values_HW or values_HW3, of the type that the file has.
        highest: the value that is white by the file's own words; None where it does not say.
        alpha_HW: from 0, transparent, to 255; None where all is opaque.
        is_inverted: whether the lowest value is white.
        orientation: how the camera was held, as EXIF and TIFF number it; 1 is upright.
    """

    pixels: NDArray[Any]
    highest: int | None
    alpha_HW: NDArray[np.uint8] | None = None
    is_inverted: bool = False
    orientation: int = 1

    @property
    def needs_levels(self) -> bool:
        """Whether it is left to the data set what is black and white."""
        return self.pixels.dtype != np.uint8

    @property
    def visible(self) -> NDArray[Any]:
        """The values of pixels that are not transparent, or all where all are."""
        is_visible = None if self.alpha_HW is None else self.alpha_HW > 0
        return self.pixels if is_visible is None or not is_visible.any() else self.pixels[is_visible]


def grey_of(image: Image.Image) -> Deep | None:
    """Return the values of a loaded image; None where PIL gives colours, or grey of 8 bits that it reads right.

    Of a TIFF whose zero is white, PIL inverts 8 bits only; and it takes signed values of 8 bits for unsigned ones.
    """
    tags = getattr(image, "tag_v2", {})
    highest, alpha_HW = None, None
    pixels_HW: NDArray[Any] = np.asarray(image)
    sample_format = tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0]
    if image.mode in GREY_16:
        pixels_HW = pixels_HW.astype(np.uint16)
        highest = 2 ** (tags.get(BITS, (16,))[0]) - 1
        if isinstance(transparent := image.info.get("transparency"), int):
            alpha_HW = _opaque_but(pixels_HW == transparent)
    elif image.mode == "L" and sample_format == SIGNED:
        was_inverted = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO  # by PIL, as if it were unsigned
        pixels_HW = np.array(255 - pixels_HW if was_inverted else pixels_HW, np.uint8).view(np.int8)
    elif image.mode == "I":
        highest = 65535 if image.format in {"PNG", "PPM"} else None
        if tags.get(BITS) == (32,) and sample_format == UNSIGNED:
            pixels_HW = pixels_HW.view(np.uint32)
    elif image.mode != "F":
        return None
    return Deep(pixels_HW, highest, alpha_HW, tags.get(PHOTOMETRIC) == WHITE_IS_ZERO, _orientation(image))


def colours_of(image: ImageFile.ImageFile, reopened: Callable[[], ImageFile.ImageFile]) -> Deep | None:
    """Return the values of an image, not loaded yet, that has colours of 16 bits, or grey with alpha; None for another.

    Args:
        image: as it was opened.
        reopened: opens it once more.
    """
    modes = {tile.args if isinstance(tile.args, str) else tile.args[0] for tile in image.tile if tile.args}
    mode = str(modes.pop()) if len(modes) == 1 else ""
    kind, _, order = mode.partition(";16")
    if mode == "LA;16B":
        image._mode = "RGBA"  # four bytes a pixel, too
        pairs_HWC: NDArray[Any] = np.ascontiguousarray(_loaded_as(image, "RGBA")).view(">u2")
        values_HWC: NDArray[Any] = pairs_HWC.astype(np.uint16)
    elif kind in {"RGB", "RGBA"} and order in _OTHER_ORDER:
        lower_HWC = _loaded_as(reopened(), f"{kind};16{_OTHER_ORDER[order]}")
        values_HWC = _loaded_as(image, mode).astype(np.uint16) << 8 | lower_HWC
    else:
        return None
    alpha_HW = None
    if kind in {"LA", "RGBA"}:
        alpha_HW = (values_HWC[..., -1] >> 8).astype(np.uint8)
        values_HWC = values_HWC[..., :-1]
    elif isinstance(transparent := image.info.get("transparency"), tuple):
        alpha_HW = _opaque_but((values_HWC == transparent).all(axis=2))
    pixels = values_HWC[..., 0] if kind == "LA" else values_HWC
    return Deep(pixels, 65535, alpha_HW, orientation=_orientation(image))


def has_deep_planes(image: Image.Image) -> bool:
    """Tell whether a TIFF has a plane for each colour, of more than 8 bits: PIL reads such planes wrongly."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(PLANAR) == SEPARATE_PLANES and len(tags.get(BITS, ())) > 1 and max(tags[BITS]) > 8


def _loaded_as(image: ImageFile.ImageFile, mode: str) -> NDArray[np.uint8]:
    """Load an image as if the file had this raw mode of PIL's."""
    image.tile = [
        tile._replace(args=mode if isinstance(tile.args, str) else (mode, *(tile.args or ())[1:]))
        for tile in image.tile
    ]
    image.load()
    return np.asarray(image)


def _opaque_but(is_transparent_HW: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.where(is_transparent_HW, 0, 255).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    return int(image.getexif().get(ORIENTATION, 1))


def to_rgb(deep: Deep, levels: Levels | None) -> Image.Image:
    """Scale to 8 bits: by `levels`, or where there are none by the whole range of the file's bits.

    Raises:
        UnusableImageError: there are no levels, and the file does not say what is white.
    """
    pixels = deep.pixels
    if deep.needs_levels:
        if levels is None:
            if deep.highest is None:
                raise UnusableImageError(
                    f"Its pixels are numbers ({pixels.dtype}) without a range from black to white: set dataset.range."
                )
            levels = Levels(low=0, high=deep.highest)
        pixels = levels.to_8_bits(pixels, deep.visible)
    if deep.is_inverted:
        pixels = 255 - pixels
    rgb = Image.fromarray(pixels).convert("RGB")
    if deep.alpha_HW is None:
        return rgb
    return Image.composite(rgb, Image.new("RGB", rgb.size, "white"), Image.fromarray(deep.alpha_HW))


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
