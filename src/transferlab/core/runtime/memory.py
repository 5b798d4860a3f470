"""How memory on the CPU is allocated."""

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
    """The C library, where it is glibc."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def keep_freed_memory() -> bool:
    """Let glibc's malloc keep what is freed for what comes next; whether this process has such a malloc.

    By default it gives a large tensor's memory back at once, and the next step has the kernel map and zero every page
    anew. Fine-tuning EfficientNet-Lite0 at 224 px in batches of 4 spent a quarter of its time so, forward passes over
    batches of 64 half of it. The price: a process keeps what it needed at its peak, and that is 1.1 to 1.4 times as
    much, since free memory lies in pieces. See mallopt(3).
    """
    if libc := _glibc():
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
    return libc is not None


def give_back_freed_memory() -> None:
    """Give the system what is free now; see malloc_trim(3)."""
    if libc := _glibc():
        libc.malloc_trim(0)


class DeviceMemoryError(MendableError):
    """The device has too little memory."""


@contextmanager
def memory_explained(what: str, micro_batch: int | None) -> Iterator[None]:
    """Say what the device had too little memory for, and what to do.

    Args:
        what: strategy, trial, stage, batch size: begins the message.
        micro_batch: what to try; None where a pass has one image already.

    Raises:
        DeviceMemoryError: in place of torch's OutOfMemoryError.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        smaller = f"training.compute.micro_batch to {micro_batch} or less, or " if micro_batch else ""
        raise DeviceMemoryError(
            f"{what}: the device has too little memory; set {smaller}input.size to fewer pixels. What was finished is "
            "kept: with another micro_batch a run goes on from there"
        ) from error


def has_room(device: torch.device, needed: int, held: int = 0) -> bool:
    """Whether a GPU has room for so many bytes beside what training needs: half of what is free.

    Args:
        device: any but CUDA always has room.
        needed: how many.
        held: bytes that are there already for the same purpose; half is to do for them all.
    """
    if device.type != "cuda":
        return True
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch keeps what was freed
    free = torch.cuda.mem_get_info(device)[0] + unused
    return needed + held < (free + held) / 2


class PeakMemory:
    """The most memory in use, in MiB, over the moments it was looked at: on CUDA the allocator's own peak.

    On a CPU it begins with giving back what earlier work has freed, which else would count.
    """

    def __init__(self, device: torch.device) -> None:
        give_back_freed_memory()
        self._device = device
        self._process = psutil.Process(os.getpid())
        self.peak = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def look(self) -> None:
        """Take the resident memory of this process into account (about 20 microseconds; nothing on CUDA)."""
        if self._device.type != "cuda":
            self.peak = max(self.peak, self._process.memory_info().rss)

    @property
    def mebibytes(self) -> float:
        """The peak so far."""
        peak = torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else self.peak
        return peak / 2**20
