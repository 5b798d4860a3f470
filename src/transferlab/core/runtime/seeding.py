"""Seeds random draws statelessly: each comes from a generator that depends only on the draw's purpose.

A resumed run needs only its position: the permutation of an epoch, the augmentation of an image and the dropout of an
epoch are the same however often, and on whatever device, they are drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def derive(*key: int | str) -> int:
    """Derive a 32-bit seed for a purpose, e.g. `derive(seed, "augment", epoch)`, from the key's SHA-256.

    Torch's CPU generator (mt19937) uses no more than 32 bits of a seed.
    """
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:4], "little")


def generator(*key: int | str) -> torch.Generator:
    """Make a CPU generator for one purpose; see `derive`."""
    return torch.Generator().manual_seed(derive(*key))


def permutation(n: int, *key: int | str) -> Tensor:
    """Draw a permutation of `range(n)`, int64, that depends on the key alone."""
    return torch.randperm(n, generator=generator(*key))


@contextmanager
def global_seed(device: torch.device, *key: int | str) -> Iterator[None]:
    """Seed torch's global generators (initialisation, dropout) inside the block, and restore them after it."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive(*key))
        yield
