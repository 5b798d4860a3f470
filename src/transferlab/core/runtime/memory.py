"""Controls how memory is allocated, tells whether there is enough, and measures the peak."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import psutil
import torch

from transferlab.core.errors import MendableError

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h
_NEVER = -1


@cache
def _glibc() -> ctypes.CDLL | None:
    """Load the C library where it is glibc."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def keep_freed_memory() -> bool:
    """Make glibc's malloc keep freed memory for later use; return whether this process has such a malloc.

    By default malloc returns a large tensor's memory to the system at once, and in the next step the kernel maps and
    zeroes every page again. That took a quarter of the time of fine-tuning EfficientNet-Lite0 at 224 px in batches of
    4, and half the time of forward passes over batches of 64. The price: a process keeps what it needed at its peak,
    and its peak is 1.1 to 1.4 times as high, because free memory is fragmented. See mallopt(3).
    """
    if libc := _glibc():
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
    return libc is not None


def give_back_freed_memory() -> None:
    """Return malloc's free memory to the system; see malloc_trim(3)."""
    if libc := _glibc():
        libc.malloc_trim(0)


def leave_memory_to_others() -> None:
    """Return the free memory that torch and malloc hold, on a GPU and on the host, for other processes to use."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
    give_back_freed_memory()


class DeviceMemoryError(MendableError):
    """Raised when the device has too little memory."""


@contextmanager
def memory_explained(what: str, micro_batch: int | None) -> Iterator[None]:
    """Turn torch's out-of-memory error into one that says what to do.

    Args:
        what: strategy, trial, stage and batch size; the message begins with it.
        micro_batch: the value to try next; None if a pass holds one image already.

    Raises:
        DeviceMemoryError: instead of torch's OutOfMemoryError.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        smaller = f"training.compute.micro_batch to {micro_batch} or less, or " if micro_batch else ""
        raise DeviceMemoryError(
            f"{what}: the device has too little memory; set {smaller}input.size to fewer pixels. What was finished is "
            "kept: with another micro_batch a run goes on from there, unless it has trained BatchNorm on other passes"
        ) from error


def has_room(device: torch.device, needed: int, held: int = 0) -> bool:
    """Return whether a GPU has room for `needed` bytes beside what training needs, for which half of it is left.

    Args:
        device: any device but CUDA always has room.
        needed: how many bytes.
        held: bytes already on the device for the same purpose; all of them together may fill half.
    """
    if device.type != "cuda":
        return True
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch keeps what was freed
    free = torch.cuda.mem_get_info(device)[0] + unused
    return needed + held < (free + held) / 2


class PeakMemory:
    """Measures the most memory in use: on CUDA the allocator's own peak, on a CPU the most seen by `look`.

    On a CPU it first returns what earlier work has freed, which would count otherwise.
    """

    def __init__(self, device: torch.device) -> None:
        give_back_freed_memory()
        self._device = device
        self._process = psutil.Process(os.getpid())
        self.peak = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def look(self) -> None:
        """Sample the resident memory of this process (about 20 microseconds; nothing on CUDA)."""
        if self._device.type != "cuda":
            self.peak = max(self.peak, self._process.memory_info().rss)

    @property
    def mebibytes(self) -> float:
        """The peak so far, in MiB."""
        peak = torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else self.peak
        return peak / 2**20
