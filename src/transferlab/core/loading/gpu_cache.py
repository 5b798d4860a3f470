"""Which images live in a GPU's memory: those of the splits that stages train on and watch, where they have room.

A process keeps the images of the latest train, validation and test split of one store, so that they are uploaded once
for all epochs, stages, trials and strategies that use the same rows of it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from transferlab.core.data.store import ImageStore
from transferlab.core.runtime.memory import give_back_freed_memory, has_room
from transferlab.core.transforms.pixels import ResidentImages

Key = tuple[Path, bytes, torch.device]
_latest: dict[str, tuple[Key, ResidentImages]] = {}  # by the name of the split


def keep(split: str, store: ImageStore, rows: NDArray[np.int64], device: torch.device) -> ResidentImages | None:
    """The images of a split, uploaded or still there; None where they had better stay on the host."""
    for name, ((folder, _, where), _) in list(_latest.items()):
        if (folder, where) != (store.folder, device):
            del _latest[name]
    key = (store.folder, rows.tobytes(), device)
    if split in _latest and _latest[split][0] == key:
        return _latest[split][1]
    _latest.pop(split, None)
    held = sum(images.flat_P3.nbytes for _, images in _latest.values())
    if not pays(device, 3 * int(store.shapes_N2[rows].prod(axis=1).sum()), held):
        return None
    images = ResidentImages.of(store, rows, device)
    _latest[split] = key, images
    return images


def give_back() -> None:
    """Leave memory to other processes: images in that of a GPU, and what torch and malloc keep of what was freed."""
    _latest.clear()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
    give_back_freed_memory()


def pays(device: torch.device, needed: int, held: int) -> bool:
    """Whether so many bytes of pixels should move: to CUDA, if with those held they fill less than half of the room.

    On the CPU they are at hand, and MPS shares its memory.
    """
    return device.type == "cuda" and has_room(device, needed, held)
