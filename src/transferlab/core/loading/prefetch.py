"""The next batch, made while the device works on this one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def pays(device: torch.device) -> bool:
    """Whether the host would else be idle while the device works: not on a CPU, which is both."""
    return device.type == "cuda"


def ahead(make: Callable[[T], R], wanted: Iterable[T], device: torch.device) -> Generator[R]:
    """What `make` makes of each thing wanted, in order, one ahead of the one in use, in a thread.

    An exception of `make` is raised where its result is due. Closing the generator waits for the thread's end. `make`
    must draw nothing from torch's global generators, which belong to the step; on CUDA thread and caller use the same
    stream, so that work on the device has one order.

    Args:
        make: called in the thread, one call at a time.
        wanted: its arguments.
        device: which the thread uses; of several GPUs, with its number.
    """
    with ThreadPoolExecutor(1, "prefetch", _use, (device,)) as thread:
        due: Future[R] | None = None
        for one in wanted:
            following = thread.submit(make, one)
            if due is not None:
                yield due.result()
            due = following
        if due is not None:
            yield due.result()


def _use(device: torch.device) -> None:
    """Threads begin with the first GPU, whichever the process uses."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
