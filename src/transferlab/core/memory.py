"""What to do when a device runs out of memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class DeviceMemoryError(RuntimeError):
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
