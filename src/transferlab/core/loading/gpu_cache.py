"""Keeps the images that stages train on and watch in a GPU's memory, where they have room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from transferlab.core.data.store import ImageStore
from transferlab.core.runtime.memory import has_room
from transferlab.core.transforms.pixels import ResidentImages


class GpuCache:
    """Uploads rows of image stores to a device, once for all epochs and stages that use the same rows.

    Whoever trains owns one; the device's memory is free again when the cache is gone.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._kept: dict[tuple[Path, bytes], ResidentImages] = {}

    @property
    def nbytes(self) -> int:
        """Size of all images on the device."""
        return sum(images.flat_P3.nbytes for images in self._kept.values())

    def keep(self, store: ImageStore, rows: NDArray[np.int64]) -> ResidentImages | None:
        """Return the images on the device, uploaded now or before; None if they had better stay on the host."""
        key = (store.folder, rows.tobytes())
        if key not in self._kept:
            if not pays(self._device, 3 * int(store.shapes_N2[rows].prod(axis=1).sum()), self.nbytes):
                return None
            self._kept[key] = ResidentImages.of(store, rows, self._device)
        return self._kept[key]


def pays(device: torch.device, needed: int, held: int) -> bool:
    """Return whether to upload `needed` bytes of pixels: to CUDA, if with those `held` they fill less than half of it.

    On a CPU they are at hand, and MPS shares the CPU's memory.
    """
    return device.type == "cuda" and has_room(device, needed, held)
