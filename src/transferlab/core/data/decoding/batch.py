"""Decode many files, or measure the range of their values."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferlab.core.data.decoding import pool
from transferlab.core.data.decoding.decode import (
    DEFAULT,
    MAX_PIXELS,
    Rules,
    UnusableImageError,
    decode_rgb,
    deep_values,
)
from transferlab.core.data.decoding.levels import Percentiles, Range, span
from transferlab.core.data.decoding.png import SIGNATURE, bit_depth
from transferlab.core.data.decoding.pool import Failed

SUFFIXES_OF_DEEP = {".png", ".tif", ".tiff", ".pgm", ".pnm", ".jp2"}  # in which grey may have more than 8 bits

MOST_PIXELS, SAMPLED = (1.0, 99.0), 100_000

Resizing = Callable[[Image.Image], Image.Image]


class Span(NamedTuple):
    """What an image of more than 8 bits uses of its numbers.

    Attributes:
        low: the lower of the percentiles that were asked for.
        high: the higher of them.
        most_low: from here to `most_high` are 98% of a sample of its pixels: a hot pixel, or a number that means "no
            value", is beyond.
        most_high: see `most_low`.
    """

    low: float
    high: float
    most_low: float
    most_high: float


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How images are decoded.

    Attributes:
        workers: processes; by default one per CPU; 0 decodes in this process.
        range: of grey values of more than 8 bits, what is black and what is white.
        max_pixels: an image with more is refused.
        channels: of TIFFs that have several, the one or three to use.
    """

    workers: int | None = None
    range: Range = "dataset"
    max_pixels: int = MAX_PIXELS
    channels: tuple[int, ...] | None = None

    def settings(self) -> dict[str, Any]:
        """Return what decides which pixels a store holds, as its header has it."""
        chosen = self.range
        said = (
            asdict(chosen) if isinstance(chosen, Percentiles) else list(chosen) if isinstance(chosen, tuple) else chosen
        )
        channels = list(self.channels) if self.channels else None
        return {"range": said, "max_pixels": self.max_pixels, "channels": channels}


@dataclass(frozen=True)
class Decoded:
    """One image: hashes of its file and of its pixels before any resize, its size, and image_HWC per resize."""

    file_sha256: str
    pixel_sha256: str
    width: int
    height: int
    images: tuple[NDArray[np.uint8], ...]


Outcome = Decoded | Failed


def decode_all(
    files: Sequence[Path],
    resizes: Sequence[Resizing],
    workers: int,
    rules: Rules = DEFAULT,
    patience: float = pool.PATIENCE_SECONDS,
) -> Generator[Outcome]:
    """Yield the outcome of every file, in order.

    Args:
        files: what to decode.
        resizes: each image is decoded once and resized in all these ways.
        workers: see `pool.run`.
        rules: what decoding depends on beside the file.
        patience: see `pool.run`.
    """
    return pool.run(partial(decode_one, resizes=tuple(resizes), rules=rules), files, workers, patience)


def spans(files: Sequence[Path], percentiles: tuple[float, float], workers: int, rules: Rules = DEFAULT) -> list[Span]:
    """Measure the values of each image of more than 8 bits; of other files, and unusable ones, nothing."""
    task = partial(_span_of_file, percentiles=percentiles, rules=rules)
    found = pool.run(task, [file for file in files if _may_be_deep(file)], workers)
    return [span for span in found if isinstance(span, Span)]


def decode_one(file: Path, resizes: Sequence[Resizing], rules: Rules = DEFAULT) -> Outcome:
    """Decode one file in this process."""
    try:
        data = file.read_bytes()
    except OSError as error:
        return Failed(f"It cannot be read: {error.strerror}.")
    file_sha256 = hashlib.sha256(data).hexdigest()
    try:
        image = decode_rgb(data, file.name, rules)
    except UnusableImageError as error:
        return Failed(str(error), file_sha256)
    images = tuple(np.array(resize(image)) for resize in resizes)
    return Decoded(file_sha256, pixel_sha256(np.asarray(image)), image.width, image.height, images)


def pixel_sha256(image_HWC: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of an image's height and width and pixels: an edit of metadata does not change it."""
    digest = hashlib.sha256(np.array(image_HWC.shape[:2], dtype="<i8").tobytes())
    digest.update(np.ascontiguousarray(image_HWC).data)
    return digest.hexdigest()


def _may_be_deep(file: Path) -> bool:
    """Tell from a file's name and first bytes whether it may be grey of more than 8 bits."""
    if file.suffix.lower() not in SUFFIXES_OF_DEEP:
        return False
    try:
        with file.open("rb") as opened:
            start = opened.read(26)
    except OSError:
        return False  # decoding says so
    is_png = start.startswith(SIGNATURE) and len(start) == 26
    return not is_png or bit_depth(start) == 16


def _span_of_file(file: Path, percentiles: tuple[float, float], rules: Rules) -> Span | None:
    try:
        values = deep_values(file.read_bytes(), file.name, rules)
    except (OSError, UnusableImageError):
        return None  # decoding says so
    if values is None or (ends := span(values, percentiles)) is None:
        return None
    some = values.ravel()[:: max(1, values.size // SAMPLED)]
    return Span(*ends, *(span(some, MOST_PIXELS) or ends))
