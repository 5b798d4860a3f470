"""Joins the processes ("ranks") that train one trial together, each on its own device.

A process that trains alone is rank 0 of 1: nothing is sent, and its numbers do not depend on this module.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


def number() -> int:
    """Return the number of this rank, from 0."""
    return distributed.get_rank() if _together() else 0


def count() -> int:
    """Return the number of ranks."""
    return distributed.get_world_size() if _together() else 1


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def shares(rows: Tensor, ranks: int, limit: int | None = None) -> list[tuple[Tensor, ...]]:
    """Cut a batch (...B) into shares, one per rank, and each share into passes.

    All ranks make the same number of passes, because SyncBatchNorm synchronises them in each. Sizes differ by at most
    one; when images run out, a pass is empty.

    Args:
        rows: the images; batches are cut along the last axis.
        ranks: how many.
        limit: images in one pass; None makes one pass of a share.
    """
    largest = math.ceil(rows.shape[-1] / ranks)
    passes = math.ceil(largest / (limit or largest))
    return [torch.tensor_split(share, passes, dim=-1) for share in torch.tensor_split(rows, ranks, dim=-1)]


def total(tensor: Tensor) -> Tensor:
    """Sum over ranks, in place; all ranks get the same bits."""
    if count() > 1:
        distributed.all_reduce(tensor)
    return tensor


def gathered(tensor: Tensor) -> list[Tensor]:
    """Return the tensor of every rank, on the CPU, in the order of ranks; all ranks get the same bits."""
    found: list[Any] = [tensor.cpu()] * count()
    if count() > 1:
        distributed.all_gather_object(found, tensor.cpu())
    return found


def agree(tensors: Iterable[Tensor]) -> None:
    """Copy the tensors of rank 0 to all ranks."""
    if count() > 1:
        for tensor in tensors:
            distributed.broadcast(tensor, 0)


@contextmanager
def zero_first() -> Iterator[None]:
    """Run the block on rank 0 first, then on the others."""
    if number() > 0:
        _meet()
    yield
    if number() == 0:
        _meet()


def _meet() -> None:
    total(torch.zeros(1))  # on the CPU: waiting with NCCL would keep the GPU busy


def synchronized(network: nn.Module) -> nn.Module:
    """Return the network with BatchNorm layers that see the images of all ranks; torch has them for CUDA only.

    On the CPU each rank normalises its own share and rank 0's statistics are kept, so BatchNorm in training mode gives
    other numbers than on one device.
    """
    if count() == 1 or not next(network.parameters()).is_cuda:
        return network
    synced: nn.Module = convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]  # knows timm's own layers
    return synced


def parallel(network: nn.Module) -> nn.Module:
    """Wrap a network so that backward passes average gradients over ranks; alone, return it as it is.

    `find_unused_parameters` keeps the gradients where they are in DDP's buffers at the start. Without it, DDP reorders
    them after the first step, and after a resume sums over three or more ranks have other last bits.
    """
    if count() == 1:
        return network
    return DistributedDataParallel(network, find_unused_parameters=True)


def without_average(network: nn.Module) -> AbstractContextManager[None]:
    """While open, keep the gradients of a `parallel` network on their rank instead of averaging them."""
    return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()
