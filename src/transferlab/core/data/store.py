"""Decoded images of different sizes in one memory-mapped file: training never opens a JPEG.

Shape suffixes: H height, W width, C the three channels of RGB, N images.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferlab.core.data.decoding.levels import Levels
from transferlab.core.errors import MendableError
from transferlab.core.validation import check

FORMAT = 1


class StoreError(MendableError):
    """A store that is damaged, incomplete or of another format."""


@dataclass(frozen=True, kw_only=True)
class Resize:
    """How images are made smaller once, before training; never larger: that is left to the model's device.

    Attributes:
        size: pixels; null keeps every image as it is.
        mode: `short_side` brings the shorter side to `size` and keeps the proportions; `squash` brings both there.
        interpolation: PIL's filter, antialiased: the same numbers as torchvision's `resize` of PIL images.
    """

    size: int | None = None
    mode: Literal["short_side", "squash"] = "short_side"
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    def __post_init__(self) -> None:
        """Check the fields."""
        check((self.size is None or self.size >= 1, "size", self.size, "must be null or at least 1 pixel"))

    @property
    def key(self) -> str:
        """A name for files, such as `short_side_256_bilinear`."""
        return "full" if self.size is None else f"{self.mode}_{self.size}_{self.interpolation}"

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) that an image gets. No side ever grows."""
        if self.size is None:
            return width, height
        if self.mode == "squash":
            return min(width, self.size), min(height, self.size)
        short, long = sorted((width, height))
        if short <= self.size:
            return width, height
        long = int(self.size * long / short)  # torchvision.transforms.v2.functional.resize rounds down too
        return (self.size, long) if width <= height else (long, self.size)

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the resized image."""
        target = self.target(image.width, image.height)
        filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
        return image if target == image.size else image.resize(target, filters[self.interpolation])


class ImageStore:
    """Images image_HWC (uint8, RGB), each of its own size, in one folder; opened when first used, in each process.

    The folder holds `pixels.bin` (all images, one after the other), `shapes_N2.npy` (height, width) and
    `header.json`, whose `sha256` is that of all three. It never changes once it is there, so that a path means the same
    pixels for ever.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def __reduce__(self) -> tuple[type[ImageStore], tuple[Path]]:
        return ImageStore, (self.folder,)

    def __repr__(self) -> str:
        return f"ImageStore({str(self.folder)!r})"

    @cached_property
    def header(self) -> dict[str, Any]:
        """`resize`, `decoder`, `count`, `pixel_sha256` (of every row, before the resize), `files` (see `build`).

        Raises:
            StoreError: it is damaged, or has another format.
        """
        try:
            header: dict[str, Any] = json.loads((self.folder / "header.json").read_text(encoding="utf-8"))
            found = header["format"]
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{self.folder / 'header.json'} is damaged ({error})") from error
        if found != FORMAT:
            raise StoreError(f"{self.folder} has format {found}, this version reads {FORMAT}")
        return header

    def verify(self) -> None:
        """Read all files and compare, once in each process (about 1 GB/s). A store without a digest is taken as it is.

        Raises:
            StoreError: a file is gone or a bit has flipped.
        """
        try:
            files = [self.folder / name for name in ("pixels.bin", "shapes_N2.npy", "header.json")]
            state = tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
            if "sha256" in self.header and state not in _verified and self._sha256() != self.header["sha256"]:
                raise StoreError(f"{self.folder} is damaged (its SHA-256 is another)")
        except FileNotFoundError as error:
            raise StoreError(f"{error.filename} is gone") from None
        _verified.add(state)

    def _sha256(self) -> str:
        sha256 = hashlib.sha256()
        with (self.folder / "pixels.bin").open("rb") as pixels:
            while chunk := pixels.read(1 << 20):
                sha256.update(chunk)
        sha256.update((self.folder / "shapes_N2.npy").read_bytes())
        sha256.update(sealed(self.header).encode())
        return sha256.hexdigest()

    @property
    def resize(self) -> Resize:
        """How the images were made smaller."""
        return Resize(**self.header["resize"])

    @property
    def decoding(self) -> dict[str, Any]:
        """The settings `range` and `max_pixels`, and the `levels` that followed; empty if none were recorded."""
        settings: dict[str, Any] = self.header.get("decoding") or {}
        return settings

    @property
    def levels(self) -> Levels | None:
        """What became black and white of grey values of more than 8 bits: predictions need the same."""
        levels = self.decoding.get("levels")
        return Levels.from_json(levels) if levels else None

    def rows_of(self, pixel_sha256: Iterable[str]) -> NDArray[np.int64]:
        """Return the row of each image of an index, (N,) int64: found by its pixels, whatever the order.

        A store is not versioned, an index is: after another run, row i of one need not be row i of the other.

        Args:
            pixel_sha256: the digests of the images' pixels before the resize.

        Raises:
            StoreError: an image is not in the store.
        """
        wanted, stored = list(pixel_sha256), self.header["pixel_sha256"]
        if wanted == stored:
            return np.arange(len(stored))
        places = {digest: row for row, digest in enumerate(stored)}
        if missing := sum(digest not in places for digest in wanted):
            raise StoreError(
                f"{self.folder} lacks {missing} of the {len(wanted)} images of the index: it was made by another "
                "run. `kedro run --pipeline=data` with the same --env and --params makes an index and a store that fit"
            )
        return np.array([places[digest] for digest in wanted], dtype=np.int64)

    @cached_property
    def shapes_N2(self) -> NDArray[np.int64]:
        """Height and width of every image, int64, in pixels."""
        shapes_N2: NDArray[np.int64] = np.load(self.folder / "shapes_N2.npy", allow_pickle=False)
        return shapes_N2

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(3 * self.shapes_N2.prod(axis=1))])

    @cached_property
    def _pixels(self) -> NDArray[np.uint8]:
        file = self.folder / "pixels.bin"
        if file.stat().st_size != self._starts[-1]:
            raise StoreError(
                f"{file} has {file.stat().st_size} bytes, expected {self._starts[-1]}: delete {self.folder}"
            )
        return np.memmap(file, dtype=np.uint8, mode="r")

    def __len__(self) -> int:
        return len(self.shapes_N2)

    def __getitem__(self, i: int) -> NDArray[np.uint8]:
        """Return image_HWC, a read-only view of the file.

        Raises:
            IndexError: there is no row `i`.
        """
        row = range(len(self))[i]
        height, width = self.shapes_N2[row]
        view: NDArray[np.uint8] = self._pixels[self._starts[row] : self._starts[row + 1]].reshape(height, width, 3)
        return view

    def batch(self, indices: Iterable[int]) -> list[NDArray[np.uint8]]:
        """Return the views image_HWC of several rows, in the order asked for."""
        return [self[int(i)] for i in indices]


_verified: set[tuple[tuple[Path, int, int], ...]] = set()  # the files' paths, sizes and times of change


def sealed(header: Mapping[str, Any]) -> str:
    """Return what of a header its digest covers."""
    return json.dumps({key: value for key, value in header.items() if key != "sha256"})


def largest(stores: Iterable[ImageStore]) -> ImageStore:
    """Return the store with the most pixels: what measures images should not change with a strategy's smaller size."""
    return max(stores, key=lambda store: int(store.shapes_N2.prod(axis=1).sum()))
