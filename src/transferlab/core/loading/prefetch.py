"""Prepares the next batch while the device works on the current one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def pays(device: torch.device) -> bool:
    """Return whether the host would be idle while the device works; a CPU is both, so never there."""
    return device.type == "cuda"


def ahead(make: Callable[[T], R], items: Iterable[T], device: torch.device) -> Generator[R]:
    """Yield `make(item)` for each item, in order, and compute the next one in a thread meanwhile.

    An exception of `make` is raised when its result is due. Closing the generator waits for the thread to end. `make`
    must not draw from torch's global generators, which belong to the training step. On CUDA the thread and the caller
    use the same stream, so the device does their work in one order.

    Args:
        make: called in the thread, one call at a time.
        items: its arguments.
        device: the device that the thread uses; with several GPUs, including its number.
    """
    with ThreadPoolExecutor(1, "prefetch", _use, (device,)) as thread:
        due: Future[R] | None = None
        for item in items:
            following = thread.submit(make, item)
            if due is not None:
                yield due.result()
            due = following
        if due is not None:
            yield due.result()


def _use(device: torch.device) -> None:
    """Select the process's GPU: a new thread begins with the first one."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
