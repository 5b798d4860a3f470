"""TIFFs that Pillow does not read: colours as floats, more than four channels, channels in pages. An extra reads them.

Shapes: H W px, C channels.
"""

from __future__ import annotations

import logging
from importlib.metadata import version
from importlib.util import find_spec
from io import BytesIO
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferlab.core.data.decoding.deep import ORIENTATION, WHITE_IS_ZERO, Deep
from transferlab.core.data.decoding.errors import UnusableImageError
from transferlab.core.data.decoding.formats import RAW_SUFFIXES, TIFF_STARTS

MOST_CHANNELS = 1024
MOST_CHANNELS_OF_LARGEST = 4  # of an image with as many pixels as are allowed
_RGB, _NOT_CHANNELS = 2, {3, 6, 8}  # TIFF 6.0: photometric interpretation; palette, YCbCr and CIELab are PIL's


def is_tiff(data: bytes, name: str) -> bool:
    """Tell by the first bytes. A camera's raw photograph may be a TIFF too, of which one would read the thumbnail."""
    return data[:4] in TIFF_STARTS and PurePath(name).suffix.lower() not in RAW_SUFFIXES


def reader() -> str:
    """Name what reads these, with its version, after a comma; empty where nothing does."""
    return f", tifffile {version('tifffile')}" if find_spec("tifffile") else ""


def read(data: bytes, channels: tuple[int, ...] | None, max_pixels: int) -> Deep | None:
    """Return the values (H, W) or (H, W, 3) of one image; None without the extra `tiff`, or where it finds no image.

    Args:
        data: the file.
        channels: one or three of the file's channels, from 1; None where the file must say which are its colours.
        max_pixels: an image with more is refused, before memory is taken for it.

    Raises:
        UnusableImageError: it is a stack, too large, or has other channels than those asked for.
    """
    if not reader():
        return None
    import tifffile  # an extra

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file stands in its reason
    try:
        file = tifffile.TiffFile(BytesIO(data))
        page, series = file.pages.first, file.series[0]
    except Exception:  # KeyError, struct.error and more: it has no directory that could be read
        return None
    _check_size(series.shape, series.axes, max_pixels)
    for part in (part for part in series.pages if part is not None):
        places = zip(part.dataoffsets, part.databytecounts, strict=True)
        if max((offset + count for offset, count in places), default=0) > len(data):
            raise UnusableImageError("It cannot be decoded: it is truncated.")
    values_HWC = _channels_last(series.asarray(), series.axes)
    if int(page.photometric) in _NOT_CHANNELS:
        return None
    chosen = _chosen(channels, values_HWC.shape[2], int(page.photometric))
    values = values_HWC[:, :, [number - 1 for number in chosen]]
    highest = 2**page.bitspersample - 1 if values.dtype.kind in "ub" else None
    if values.dtype.itemsize == 1 and highest is not None:
        values = (values.astype(np.uint16) * 255 // highest).astype(np.uint8)  # 1 to 7 bits, which PIL scales too
    return Deep(
        values[:, :, 0] if len(chosen) == 1 else values,
        highest,
        is_inverted=int(page.photometric) == WHITE_IS_ZERO,
        orientation=page.tags.valueof(ORIENTATION, default=1),
    )


def _check_size(shape: tuple[int, ...], axes: str, max_pixels: int) -> None:
    size = dict(zip(axes, shape, strict=True))
    pixels = size.get("Y", 1) * size.get("X", 1)
    if pixels > max_pixels:
        raise UnusableImageError(
            f"It has {pixels:,} pixels, which may be meant to fill the memory; dataset.max_pixels allows "
            f"{max_pixels:,}."
        )
    other = [f"{count} {axis}" for axis, count in size.items() if axis not in "YXSCIQ"]
    several = [axis for axis in axes if axis in "SCIQ"]
    if other or len(several) > 1 or not {"Y", "X"} <= set(axes):
        raise UnusableImageError(f"It is a stack (axes {axes}, sizes {shape}), not one image.")
    channels = size[several[0]] if several else 1
    if channels > MOST_CHANNELS or pixels * channels > MOST_CHANNELS_OF_LARGEST * max_pixels:
        raise UnusableImageError(
            f"It has {channels} channels of {pixels:,} pixels, which may be meant to fill the memory."
        )


def _channels_last(values: NDArray[Any], axes: str) -> NDArray[Any]:
    others = [axis for axis in axes if axis not in "YX"]
    order = [axes.index(axis) for axis in ("Y", "X", *others)]
    values_HWC: NDArray[Any] = values.transpose(order)
    return values_HWC if others else values_HWC[:, :, None]


def _chosen(channels: tuple[int, ...] | None, count: int, photometric: int) -> tuple[int, ...]:
    """Return the channels to take: those asked for, else the one or the three that the file has as colours."""
    if channels is None:
        if count == 1:
            return (1,)
        if count == 3 or photometric == _RGB:
            return (1, 2, 3)
        raise UnusableImageError(
            f"It has {count} channels: say in dataset.channels which one, or which three as red, green and blue, are "
            "to be used, such as [3, 2, 1]."
        )
    if max(channels) > count:
        raise UnusableImageError(f"It has {count} channels, and dataset.channels names number {max(channels)}.")
    return channels
