"""The order of a stage's images: which image comes when in an epoch, and how it is cut into batches and passes.

Shapes: B images of a batch, N of a split. An ellipsis (...B) stands for an axis before the images: trials whose heads
are stacked, or an image and the one it is mixed with.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from transferlab.core.runtime import seeding

Sampler = Literal["balanced"] | None


def drawn(sampler: Sampler, labels_N: Tensor, *key: int | str) -> Tensor:
    """Draw the order of an epoch, (N,) rows of the split, which depends on the key alone.

    Args:
        sampler: None shows each image once. `balanced` shows all classes equally often: N / K images of each of the K
            classes that the split has. The images of a rare class then come several times, all equally often up to one,
            and some of a common one not at all.
        labels_N: class numbers, on the CPU.
        key: of the draw.
    """
    if sampler is None:
        return seeding.permutation(len(labels_N), *key)
    rng = seeding.generator(*key)
    classes = [(labels_N == label).nonzero()[:, 0] for label in sorted({*labels_N.tolist()})]
    counts = [len(labels_N) // len(classes) + (place < len(labels_N) % len(classes)) for place in range(len(classes))]
    chosen = torch.cat([_repeated(rows, count, rng) for rows, count in zip(classes, counts, strict=True)])
    return chosen[torch.randperm(len(chosen), generator=rng)]


def _repeated(rows: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """Return `count` of these rows: shuffled, as often as it takes."""
    rounds = -(-count // len(rows))
    return torch.cat([rows[torch.randperm(len(rows), generator=rng)] for _ in range(rounds)])[:count]


def batches(order: Tensor, size: int) -> list[Tensor]:
    """Cut an order of images (...N) into batches.

    A last batch of one image joins the batch before it, because BatchNorm cannot train on one.
    """
    cut = list(torch.split(order, size, dim=-1))
    if len(cut) > 1 and cut[-1].shape[-1] == 1:
        cut[-2:] = [torch.cat(cut[-2:], dim=-1)]
    return cut


def padded(part: Tensor, rows: Tensor, least: int) -> Tensor:
    """Return the images (...B) that a pass shows: its own, and others of its batch where these are fewer than `least`.

    The others have weight zero. Ranks without images need them too, because all ranks must join every collective.
    """
    missing = min(least, rows.shape[-1]) - part.shape[-1]
    if missing <= 0:
        return part
    is_other = ~torch.isin(rows, part).reshape(-1, rows.shape[-1])[0]
    others = torch.cat([rows[..., is_other], rows], dim=-1)  # a batch may hold one image alone, several times
    return torch.cat([part, others[..., :missing]], dim=-1)
