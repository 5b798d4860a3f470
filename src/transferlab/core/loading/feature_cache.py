"""Frozen work, done once: what the frozen prefix of a network makes of each distinct view of each image.

It is computed once per view and kept on disk under a key of all it depends on; epochs, trials, strategies and later
runs share it. A file is a safetensors file, written batch by batch and mapped into memory when read, so that no number
of images has to fit into memory.

Shapes: N images, F... whatever the tail takes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from transferlab.core.files.atomic import whole_file
from transferlab.core.models.prefix import Cut
from transferlab.core.runtime.device import Machine
from transferlab.core.validation import check

logger = logging.getLogger(__name__)

Batches = Callable[[], Iterator[Tensor]]
_TYPES = {"float32": (torch.float32, "F32"), "bfloat16": (torch.bfloat16, "BF16"), "float16": (torch.float16, "F16")}
_HEADER_BYTES = 1024
_NO_DIGEST = 64 * "0"  # stands in the header while it is hashed with the rest


@dataclass(frozen=True, kw_only=True)
class FeatureCacheConfig:
    """How features of frozen prefixes are kept.

    Attributes:
        limit_gb: gigabytes (1e9 bytes) of disk for an experiment. Features unused for longest make room for others;
            a stage that needs more than all of it runs its frozen layers in every step.
        dtype: `float32` gives the same numbers as without; the others take half the room and round.
    """

    limit_gb: float = 20.0
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    def __post_init__(self) -> None:
        check((self.limit_gb >= 0, "limit_gb", self.limit_gb, "must be at least 0 (which keeps none)"))

    def bytes_of(self, count: int, shape: tuple[int, ...]) -> int:
        """What features of `count` images take, each of this shape."""
        return count * math.prod(shape) * _TYPES[self.dtype][0].itemsize


@dataclass(frozen=True)
class Stored:
    """Features (N, F...), in memory only where they are touched, and the seconds that computing them took, once."""

    features: Tensor
    seconds: float


def compute(at: Cut, batches: Iterator[Tensor], machine: Machine) -> Iterator[Tensor]:
    """Run the frozen prefix over batches x_BCHW: what reaches the tail, (B, F...), float32 on the CPU."""
    at.prefix.eval()
    for x_BCHW in batches:
        for part in torch.split(x_BCHW, machine.micro_batch or len(x_BCHW)):
            with torch.inference_mode(), machine.autocast():
                x_BF: Tensor = at.prefix(part.to(memory_format=machine.memory_format))
            yield x_BF.float().cpu()


def cached(folder: Path, key: Sequence[object], count: int, make: Batches, keeping: FeatureCacheConfig) -> Stored:
    """The features of `count` images under `key`, from the folder, or made and put there (whole or not at all)."""
    name = hashlib.sha256(repr((*key, keeping.dtype)).encode()).hexdigest()
    file = folder / f"{name}.safetensors"
    _remove_if_damaged(file)
    while (stored := _opened(file)) is None:
        try:
            with whole_file(file) as handle:
                _write(handle, make(), count, _TYPES[keeping.dtype])
        except PermissionError:  # on Windows: another process has put the same there and mapped it
            if not file.is_file():
                raise
        _make_room(folder, keeping.limit_gb * 1e9, file)
    return stored


def _remove_if_damaged(file: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # it is not there, or no longer
        if not _is_whole(file):
            logger.warning("%s is damaged; its features are computed again", file)
            file.unlink()


def _opened(file: Path) -> Stored | None:
    """What a file holds; None where there is none, or no longer: other processes make room."""
    try:
        os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))
        with safe_open(file, framework="pt") as stored:
            return Stored(stored.get_tensor("features"), float(stored.metadata()["seconds"]))
    except (FileNotFoundError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and os.strerror(errno.ENOENT) not in str(error):  # torch's, of its mapping
            raise
        return None


def _write(file: BinaryIO, batches: Iterator[Tensor], count: int, kind: tuple[torch.dtype, str]) -> None:
    """Write the batches as one tensor `features` of a safetensors file, whose header is known at the end."""
    started, sha256, shape = time.perf_counter(), hashlib.sha256(), (count,)
    file.seek(_HEADER_BYTES)
    for batch_BF in batches:
        content = batch_BF.to(kind[0]).contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        shape = (count, *batch_BF.shape[1:])
        sha256.update(content)
        file.write(content)
    about = {
        "__metadata__": {"seconds": repr(time.perf_counter() - started), "sha256": _NO_DIGEST},
        "features": {"dtype": kind[1], "shape": shape, "data_offsets": [0, file.tell() - _HEADER_BYTES]},
    }
    header = (_HEADER_BYTES - 8).to_bytes(8, "little") + json.dumps(about).encode().ljust(_HEADER_BYTES - 8)
    sha256.update(header)
    file.seek(0)
    file.write(header.replace(_NO_DIGEST.encode(), sha256.hexdigest().encode()))


def _is_whole(file: Path) -> bool:
    """Whether a file holds what was written: hashed once in a process, not at each use."""
    status = file.stat()
    return status.st_size > _HEADER_BYTES and _has_its_digest(file, status.st_ino, status.st_size, status.st_mtime_ns)


@cache
def _has_its_digest(file: Path, *_identity: int) -> bool:
    content: NDArray[np.uint8] = np.memmap(file, dtype=np.uint8, mode="r")
    header = content[:_HEADER_BYTES].tobytes()
    if not (stated := re.search(rb'"sha256": "([0-9a-f]{64})"', header)):
        return False
    sha256 = hashlib.sha256(content[_HEADER_BYTES:].data)
    sha256.update(header.replace(stated[1], _NO_DIGEST.encode()))
    return sha256.hexdigest().encode() == stated[1]


def _make_room(folder: Path, limit: float, written: Path) -> None:
    """Remove what has not been used for longest until at most `limit` bytes are left, but not what was just written.

    Several processes may do so at a time.
    """
    found: dict[Path, os.stat_result] = {}
    for file in folder.glob("*.safetensors"):
        with contextlib.suppress(FileNotFoundError):
            found[file] = file.stat()
    total = sum(status.st_size for status in found.values())
    for file, status in sorted(found.items(), key=lambda item: max(item[1].st_atime_ns, item[1].st_mtime_ns)):
        if total > limit and file != written:
            total -= status.st_size
            with contextlib.suppress(PermissionError, FileNotFoundError):  # Windows keeps what another run has mapped
                file.unlink()
                logger.info("%s: removed %s, unused for longest, to stay below %.3g GB", folder, file.name, limit / 1e9)
