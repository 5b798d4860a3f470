"""Writes the files of an image store.

Shape suffixes: H height, W width, C the three channels of RGB.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferlab.core.data.store import FORMAT, Resize, sealed


class StoreWriter:
    """Writes one store, image by image, into a folder that exists; a context that closes the file."""

    def __init__(self, folder: Path, resize: Resize) -> None:
        self.folder, self.resize = folder, resize
        self._shapes: list[tuple[int, int]] = []
        self._sha256 = hashlib.sha256()
        self._file = (folder / "pixels.bin").open("wb")

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, image_HWC: NDArray[np.uint8]) -> None:
        """Add the next row."""
        pixels = np.ascontiguousarray(image_HWC).data
        self._file.write(pixels)
        self._sha256.update(pixels)
        self._shapes.append((image_HWC.shape[0], image_HWC.shape[1]))

    def finish(
        self, decoder: str, files: Sequence[Mapping[str, Any]], decoding: Mapping[str, Any] | None = None
    ) -> str:
        """Write the shapes and the header; return a digest of all that identifies the store's content.

        Args:
            decoder: what decoded the images.
            files: one record for each file that was to be stored, also those that were not (with a `reason`).
            decoding: the settings of the decoder, and what they came to.
        """
        shapes = io.BytesIO()
        np.save(shapes, np.array(self._shapes, dtype=np.int64).reshape(-1, 2))
        (self.folder / "shapes_N2.npy").write_bytes(shapes.getvalue())
        pixel_sha256 = [record["pixel_sha256"] for record in files if record["reason"] is None]
        about = {"format": FORMAT, "resize": asdict(self.resize), "decoder": decoder, "count": len(self._shapes)}
        if decoding is not None:
            about["decoding"] = dict(decoding)
        header = {**about, "pixel_sha256": pixel_sha256, "files": list(files)}
        self._sha256.update(shapes.getvalue() + sealed(header).encode())
        sha256 = self._sha256.hexdigest()
        (self.folder / "header.json").write_text(json.dumps({**header, "sha256": sha256}), encoding="utf-8")
        return sha256[:16]
