"""Decode an image file whole, to 8-bit RGB, or say in a sentence why it cannot be used."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError, __version__

from transferlab.core.data.decoding import deep, tiff
from transferlab.core.data.decoding.deep import ORIENTATION, Deep
from transferlab.core.data.decoding.errors import UnusableImageError
from transferlab.core.data.decoding.formats import formats_to_try, heif_reader, why_unknown
from transferlab.core.data.decoding.levels import Levels
from transferlab.core.data.decoding.png import SIGNATURE, bit_depth, sound_png

__all__ = ["DECODER", "MAX_PIXELS", "Rules", "UnusableImageError", "decode", "decode_rgb", "deep_values"]

# Part of what identifies decoded pixels: another Pillow, or another rule below, may give others.
DECODER = f"transferlab 5, Pillow {__version__}{heif_reader()}{tiff.reader()}"
MAX_PIXELS = 178_956_970  # where Pillow itself stops: 512 MB of RGB
PLACEHOLDER_NAME = re.compile(
    r"(not[-_ ]?(found|available)|un?available|no[-_ ]?image|placeholder|missing)", re.IGNORECASE
)
PLANES = (
    "It is a TIFF with a plane of more than 8 bits for each colour, which Pillow reads wrongly: the extra 'tiff' reads "
    "it (pip install 'transferlab[tiff]'), or save it with its colours together."
)
PLACEHOLDER_COLORS = 64
PLACEHOLDER_SHARE = 0.9


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What decoding depends on beside the file.

    Attributes:
        max_pixels: an image with more is refused, before memory is taken for it.
        levels: what becomes black and white of grey values of more than 8 bits; by default all that the bits can say.
    """

    max_pixels: int = MAX_PIXELS
    levels: Levels | None = None

    @property
    def channels(self) -> tuple[int, ...] | None:
        """The channels to take of a TIFF that has several, from 1; None where it says itself which are its colours."""
        return self.levels.channels if self.levels else None


DEFAULT = Rules()
_alone = threading.Lock()


def decode(path: Path, rules: Rules = DEFAULT) -> NDArray[np.uint8]:
    """Return the image in `path` as image_HWC, uint8 RGB, turned as its EXIF orientation says.

    Grey of more than 8 bits and colours of 16 are scaled as the rules say (PIL would clip such grey at 255, and keep
    the upper 8 bits of such colours); palettes and CMYK become RGB; transparent pixels are laid over white. Of a
    phone's multi-picture JPEG (MPO) the main picture is taken.

    Raises:
        UnusableImageError: it cannot be read, is truncated, animated, too large, a placeholder, or of unknown scale.
    """
    return np.array(decode_rgb(Path(path).read_bytes(), Path(path).name, rules))


def decode_rgb(data: bytes, name: str, rules: Rules = DEFAULT) -> Image.Image:
    """Decode a file's bytes as `decode` does, to a PIL image of mode RGB; `name` is the file's name.

    Raises:
        UnusableImageError: see `decode`.
    """
    with _explained(data, name, rules):
        found = _opened(data, name, rules)
        if isinstance(found, Deep):
            rgb, orientation = deep.to_rgb(found, rules.levels), found.orientation
        else:
            rgb, orientation = _to_rgb(found), found.getexif().get(ORIENTATION, 1)
        if orientation != 1:
            rgb.getexif()[ORIENTATION] = orientation
            rgb = ImageOps.exif_transpose(rgb)
    if PLACEHOLDER_NAME.search(PurePath(name).stem) and _is_flat_drawing(rgb):
        raise UnusableImageError(
            "It is no photograph but a placeholder for one: its name says so, and it is a drawing in few colours."
        )
    return rgb


def deep_values(data: bytes, name: str, rules: Rules = DEFAULT) -> NDArray[Any] | None:
    """Return the values that can be seen of an image where they have more than 8 bits, else None.

    Raises:
        UnusableImageError: see `decode`.
    """
    with _explained(data, name, rules):
        found = _opened(data, name, rules)
        return found.visible if isinstance(found, Deep) and found.needs_levels else None


@contextmanager
def _explained(data: bytes, name: str, rules: Rules) -> Iterator[None]:
    """Turn whatever PIL raises into one error, and have it refuse more pixels than the rules allow.

    One thread at a time does so: PIL's limit and Python's warnings are those of the whole process.
    """
    _alone.acquire()
    most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, rules.max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except UnusableImageError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        found = re.search(r"\d+", str(error))
        count = f"{int(found[0]):,}" if found else "more"
        raise UnusableImageError(
            f"It has {count} pixels, which may be meant to fill the memory; dataset.max_pixels allows "
            f"{rules.max_pixels:,}."
        ) from error
    except UnidentifiedImageError as error:
        raise UnusableImageError(why_unknown(data, name)) from error
    except Exception as error:  # PIL's decoders raise OSError, SyntaxError, struct.error, IndexError and more
        raise UnusableImageError(f"It cannot be decoded: {str(error) or type(error).__name__}.") from error
    finally:
        Image.MAX_IMAGE_PIXELS = most
        _alone.release()


def _opened(data: bytes, name: str, rules: Rules) -> Image.Image | Deep:
    """Open one still image and read it whole: values of more than 8 bits, or else an image."""
    if rules.channels and tiff.is_tiff(data, name) and (found := tiff.read(data, rules.channels, rules.max_pixels)):
        return found
    if data.startswith(SIGNATURE):
        data = sound_png(data)
    try:
        image = _with_header_read(data, name)
    except UnidentifiedImageError:
        if tiff.is_tiff(data, name) and (found := tiff.read(data, None, rules.max_pixels)):
            return found
        raise
    if deep.has_deep_planes(image):
        if found := tiff.read(data, None, rules.max_pixels):
            return found
        raise UnusableImageError(PLANES)
    if found := deep.colours_of(image, lambda: _with_header_read(data, name)):
        return found
    image.load()  # whole: `verify()` passes truncated files
    if image.format == "PNG":
        image.info = _with_sound_transparency(image, bit_depth(data))
    return deep.grey_of(image) or image


def _with_header_read(data: bytes, name: str) -> ImageFile.ImageFile:
    """Open one still image with Pillow, which reads its header alone."""
    image = Image.open(BytesIO(data), formats=formats_to_try(data, name))
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format not in {"MPO", "HEIF"}:
        raise UnusableImageError(f"It has {frames} frames: an animation or a stack, not one image.")
    deep.check_readable(image, data)
    return image


def _with_sound_transparency(image: Image.Image, bits: int) -> dict[Any, Any]:
    """Return a PNG's info with its transparent colour on the scale of the pixels: PIL gives it as the file has it."""
    colour = image.info.get("transparency")
    if bits == 8 or image.mode == "P" or image.mode.startswith("I") or not isinstance(colour, int | tuple):
        return image.info

    def to_8_bits(value: int) -> int:
        return value >> 8 if bits == 16 else value * 255 // (2**bits - 1)

    scaled = to_8_bits(colour) if isinstance(colour, int) else tuple(map(to_8_bits, colour))
    return {**image.info, "transparency": scaled}


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _is_flat_drawing(image: Image.Image) -> bool:
    """Find few colours, one of them nearly everywhere. Scans of digits are that too: it needs the name as well."""
    colors = image.getcolors(PLACEHOLDER_COLORS)
    return colors is not None and max(count for count, _ in colors) >= PLACEHOLDER_SHARE * image.width * image.height
