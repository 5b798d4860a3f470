"""Keeps the features of frozen layers on disk, so that they are computed once for each distinct view of each image.

Epochs, trials, strategies and later runs share them. Each file is in the safetensors format, written batch by batch and
mapped into memory when read, so any number of images works in little memory. Its header states the key of all that the
features depend on, so a file that was renamed or swapped is noticed.

Shapes: N images, F... the shape of one image's features.
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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from transferlab.core.files.atomic import whole_file
from transferlab.core.files.hashing import sha256_of_json
from transferlab.core.validation import check

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

Batches = Callable[[], "Iterator[Tensor]"]
_TYPES = {"float32": ("F32", 4), "bfloat16": ("BF16", 2), "float16": ("F16", 2)}  # as safetensors calls them; bytes
_HEADER_BYTES = 512  # without the key; digits of shapes and seconds need less
_NO_DIGEST = 64 * "0"  # stands in the header while it is hashed with the rest


@dataclass(frozen=True, kw_only=True)
class FeatureCacheConfig:
    """Says how features of frozen layers are kept, as a user configures it.

    Attributes:
        limit_gb: gigabytes (1e9 bytes) of disk for an experiment. The least recently used features make room for new
            ones; a stage that needs more than the limit runs its frozen layers in every step.
        dtype: `float32` keeps features as they were computed; the others round them and take half the space.
    """

    limit_gb: float = 20.0
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    def __post_init__(self) -> None:
        check((self.limit_gb >= 0, "limit_gb", self.limit_gb, "must be at least 0 (which keeps none)"))

    def bytes_of(self, count: int, shape: tuple[int, ...]) -> int:
        """Return the size of the features of `count` images, each of this shape."""
        return count * math.prod(shape) * _TYPES[self.dtype][1]


@dataclass(frozen=True)
class Stored:
    """Features (N, F...), mapped into memory, and the seconds that computing them took, whenever that was."""

    features: Tensor
    seconds: float


@dataclass(frozen=True)
class FeatureCache:
    """Features in a folder, each file under a key that names all that its features depend on.

    Attributes:
        folder: made when it is needed; several processes may use it.
        config: how features are kept.
    """

    folder: Path
    config: FeatureCacheConfig

    def get(self, key: Mapping[str, Any], count: int, make: Batches) -> Stored:
        """Return the features of `count` images, from a file or computed and written (whole or not at all).

        Args:
            key: plain JSON values that name all that the features depend on, their dtype on disk apart.
            count: of images.
            make: computes the features, batch by batch.
        """
        stated = json.dumps({**key, "dtype": self.config.dtype}, sort_keys=True)
        file = self.folder / f"{sha256_of_json(json.loads(stated))}.safetensors"
        _remove_if_damaged(file, stated)
        while (stored := _opened(file)) is None:
            try:
                with whole_file(file) as handle:
                    _write(handle, make(), count, self.config.dtype, stated)
            except PermissionError:  # on Windows: another process has put the same there and mapped it
                if not file.is_file():
                    raise
            _make_room(self.folder, self.config.limit_gb * 1e9, file)
        return stored


def _remove_if_damaged(file: Path, key: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # it is not there, or no longer
        if not _is_whole(file):
            problem = "is damaged"
        elif _metadata(file)["key"] != key:
            problem = "holds other features than its name says"
        else:
            return
        logger.warning("%s %s; its features are computed again", file, problem)
        file.unlink()


def _metadata(file: Path) -> dict[str, str]:
    with safe_open(file, framework="pt") as stored:
        return cast("dict[str, str]", stored.metadata())


def _opened(file: Path) -> Stored | None:
    """Open a file's features; None if there is no such file, or no longer: other processes make room."""
    try:
        os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))
        with safe_open(file, framework="pt") as stored:
            return Stored(stored.get_tensor("features"), float(stored.metadata()["seconds"]))
    except (FileNotFoundError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and os.strerror(errno.ENOENT) not in str(error):  # torch's, of its mapping
            raise
        return None


def _write(file: BinaryIO, batches: Iterator[Tensor], count: int, dtype: str, key: str) -> None:
    """Write batches as the tensor `features` of a safetensors file; its header is known, and written, at the end.

    The header's digest covers the rest of the file. Room is left for the header: the key, and what else it says.
    """
    import torch  # config reads this module, and must not wait for it

    started, sha256, shape = time.perf_counter(), hashlib.sha256(), (count,)
    room = 8 * math.ceil((_HEADER_BYTES + len(json.dumps(key))) / 8)
    file.seek(room)
    for batch_BF in batches:
        content = batch_BF.to(getattr(torch, dtype)).contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        shape = (count, *batch_BF.shape[1:])
        sha256.update(content)
        file.write(content)
    about = {
        "__metadata__": {"seconds": str(time.perf_counter() - started), "key": key, "sha256": _NO_DIGEST},
        "features": {"dtype": _TYPES[dtype][0], "shape": shape, "data_offsets": [0, file.tell() - room]},
    }
    header = (room - 8).to_bytes(8, "little") + json.dumps(about).encode().ljust(room - 8)
    sha256.update(header)
    file.seek(0)
    file.write(header.replace(_NO_DIGEST.encode(), sha256.hexdigest().encode()))


def _is_whole(file: Path) -> bool:
    """Return whether a file holds what was written; it is hashed once in a process, not at each use."""
    status = file.stat()
    return status.st_size > _HEADER_BYTES and _has_its_digest(file, status.st_ino, status.st_size, status.st_mtime_ns)


@cache
def _has_its_digest(file: Path, *_identity: int) -> bool:
    content: NDArray[np.uint8] = np.memmap(file, dtype=np.uint8, mode="r")
    room = 8 + int.from_bytes(content[:8].tobytes(), "little")
    header = content[: min(room, len(content))].tobytes()
    if not (stated := re.search(rb'"sha256": "([0-9a-f]{64})"', header)):
        return False
    sha256 = hashlib.sha256(content[len(header) :].data)
    sha256.update(header.replace(stated[1], _NO_DIGEST.encode()))
    return sha256.hexdigest().encode() == stated[1]


def _make_room(folder: Path, limit: float, written: Path) -> None:
    """Remove the least recently used files until at most `limit` bytes are left, but not the one just written.

    Several processes may do so at the same time.
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
