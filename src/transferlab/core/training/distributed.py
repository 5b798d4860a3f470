"""The processes that train one trial together, a device each ("ranks"), as the training sees them.

A process that trains alone is rank 0 of 1: nothing is sent, and the numbers are what they would be without this module.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


def number() -> int:
    """Which of the ranks this process is, from 0."""
    return distributed.get_rank() if _together() else 0


def count() -> int:
    """How many there are."""
    return distributed.get_world_size() if _together() else 1


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def shares(rows_B: Tensor, ranks: int, limit: int | None = None) -> list[tuple[Tensor, ...]]:
    """Cut a batch into shares, one per rank, and each share into passes.

    All ranks make the same number of passes, since SyncBatchNorm meets in each of them. Sizes differ by one at most;
    where images run out, a pass is empty.

    Args:
        rows_B: the images.
        ranks: how many.
        limit: images in one pass; None makes one pass of a share.
    """
    largest = math.ceil(len(rows_B) / ranks)
    passes = math.ceil(largest / (limit or largest))
    return [torch.tensor_split(share, passes) for share in torch.tensor_split(rows_B, ranks)]


def total(tensor: Tensor) -> Tensor:
    """The sum over ranks, the same bits on all of them."""
    if count() > 1:
        distributed.all_reduce(tensor)
    return tensor


def agree(tensors: Iterable[Tensor]) -> None:
    """Give all ranks what rank 0 has."""
    if count() > 1:
        for tensor in tensors:
            distributed.broadcast(tensor, 0)


@contextmanager
def zero_first() -> Iterator[None]:
    """Rank 0 runs the block, and when it is done the others do."""
    if number() > 0:
        _meet()
    yield
    if number() == 0:
        _meet()


def _meet() -> None:
    total(torch.zeros(1))  # on the CPU: waiting with NCCL would keep the GPU busy


def synchronized(network: nn.Module) -> nn.Module:
    """The network, its BatchNorm layers replaced by ones that see the images of all ranks, where torch has them.

    That is on CUDA. On the CPU each rank normalises its own share and rank 0's statistics are kept, so that BatchNorm
    in training mode gives other numbers than on one device.
    """
    if count() == 1 or not next(network.parameters()).is_cuda:
        return network
    synced: nn.Module = convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]  # knows timm's own layers
    return synced


def parallel(network: nn.Module) -> nn.Module:
    """What the training calls in place of a network: backward passes then average gradients over ranks.

    With `find_unused_parameters` the gradients keep the places in DDP's buffers that they have at the start. Without,
    DDP orders them anew after the first step, and sums of three and more ranks after a resume have other last bits.
    """
    if count() == 1:
        return network
    return DistributedDataParallel(network, find_unused_parameters=True)


def without_average(network: nn.Module) -> AbstractContextManager[None]:
    """While open, backward passes of a network made `parallel` gather gradients on their rank."""
    return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()
