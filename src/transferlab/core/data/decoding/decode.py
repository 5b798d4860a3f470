"""Decode an image file whole, to 8-bit RGB, or say in a sentence why it cannot be used."""

from __future__ import annotations

import re
import warnings
import zlib
from io import BytesIO
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError, __version__

from transferlab.core.errors import MendableError

# Part of what identifies decoded pixels: another Pillow, or another rule below, may give others.
DECODER = f"transferlab 2, Pillow {__version__}"
# All that is ever tried. PIL knows dozens more, and gives PostScript, whatever the file is called, to another program.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
NAMED_FORMATS = {".tga": "TGA"}  # has no signature: nearly anything could be one, so its name must say it
GREY_16 = {"I;16", "I;16L", "I;16B", "I;16N"}
PLACEHOLDER_NAME = re.compile(
    r"(not[-_ ]?(found|available)|un?available|no[-_ ]?image|placeholder|missing)", re.IGNORECASE
)
PLACEHOLDER_COLORS = 64
PLACEHOLDER_SHARE = 0.9


class UnusableImageError(MendableError):
    """The file is no image that can be used; the message is one sentence for the quarantine table."""


def decode(path: Path) -> NDArray[np.uint8]:
    """The image in `path` as image_HWC, uint8 RGB, turned as its EXIF orientation says.

    16-bit grey is scaled by 255/65535 (PIL would clip it at 255); palettes and CMYK become RGB; transparent pixels
    are laid over white. Of a phone's multi-picture JPEG (MPO) the main picture is taken.

    Raises:
        UnusableImageError: it cannot be read, is truncated, animated, too large, a placeholder, or of unknown scale.
    """
    return np.array(decode_rgb(Path(path).read_bytes(), Path(path).name))


def decode_rgb(data: bytes, name: str) -> Image.Image:
    """What `decode` does, of a file's bytes, as a PIL image of mode RGB; `name` is the file's name.

    Raises:
        UnusableImageError: see `decode`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(data), formats=_formats(name)) as image:
                _check_still(image)
                image.load()  # whole: verify() passes truncated files
                if image.format == "PNG":
                    _check_png(data)
                rgb = _to_rgb(ImageOps.exif_transpose(image))
    except UnusableImageError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UnusableImageError(f"It has implausibly many pixels ({error}).") from error
    except UnidentifiedImageError as error:
        raise UnusableImageError(
            "Its content is empty." if not data else "Its content is no image of a known format."
        ) from error
    except Exception as error:  # PIL's decoders raise OSError, SyntaxError, struct.error, IndexError and more
        raise UnusableImageError(f"It cannot be decoded: {str(error) or type(error).__name__}.") from error
    if PLACEHOLDER_NAME.search(PurePath(name).stem) and _is_flat_drawing(rgb):
        raise UnusableImageError(
            "It is no photograph but a placeholder for one: its name says so, and it is a drawing in few colours."
        )
    return rgb


def _formats(name: str) -> tuple[str, ...]:
    """The formats to try for a file of this name, of those that the installed Pillow has."""
    Image.init()
    wanted = (*FORMATS, NAMED_FORMATS.get(PurePath(name).suffix.lower(), ""))
    return tuple(known for known in wanted if known in Image.OPEN)


def _check_still(image: Image.Image) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise UnusableImageError(f"It has {frames} frames: an animation or a stack, not one image.")


def _check_png(data: bytes) -> None:
    """Compare the checksums of a PNG's parts (PNG specification, 5.3): PIL does not, of those with the pixels."""
    view, at = memoryview(data), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(view[at : at + 4], "big")
        if end + 4 <= len(data) and zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise UnusableImageError("It is damaged: a checksum in it is not that of its content.")
        at = end + 4


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in GREY_16 or (image.mode == "I" and image.format in {"PNG", "PPM"}):
        return _from_grey_16(image)
    if image.mode in {"I", "F"}:
        raise UnusableImageError(
            f"Its pixels are of PIL's mode {image.mode!r}, whose range from black to white is not known."
        )
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _from_grey_16(image: Image.Image) -> Image.Image:
    """65535 becomes 255, with rounding."""
    grey_HW = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((grey_HW * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")


def _is_flat_drawing(image: Image.Image) -> bool:
    """Few colours, and one of them nearly everywhere. Scans of digits are that too: it needs the name as well."""
    colors = image.getcolors(PLACEHOLDER_COLORS)
    return colors is not None and max(count for count, _ in colors) >= PLACEHOLDER_SHARE * image.width * image.height
