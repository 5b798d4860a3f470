"""Feeds a stage that mixes its images: each with the one before it in its batch.

Shapes: B images of a batch, N of a split, S px of the square. A pair of rows (2, B) names an image and its partner.
"""

from __future__ import annotations

import torch
from torch import Tensor

from transferlab.core.loading.features import StageInput
from transferlab.core.runtime.device import upload
from transferlab.core.strategies.strategy import Stage
from transferlab.core.transforms import mix
from transferlab.core.transforms.mix import Mixture


class Mixing:
    """Mixes the images of one trial.

    Args:
        stage: the config.
        size: px of the square that the stage trains on.
        count: N, images of the training split.
        key: of the draws.
    """

    def __init__(self, stage: Stage, size: int, count: int, key: tuple[int | str, ...]) -> None:
        self._stage, self._size, self._count, self._key = stage, size, count, key
        self._drawn: tuple[int, Mixture] | None = None

    def batch(self, source: StageInput, epoch: int, pairs_2B: Tensor) -> Tensor:
        """Return mixed images x_B3SS; each image that they show is rendered once."""
        rows, places_2B = torch.unique(pairs_2B, return_inverse=True)
        x = source.batch(epoch, rows)
        own, partners = (x[upload(places, x.device)] for places in places_2B)
        return mix.mix(own, partners, self._of(epoch).take(pairs_2B[0]))

    def share(self, epoch: int, rows_B: Tensor) -> Tensor:
        """Return which part of its target is each image's own label, (B,), on the CPU."""
        return self._of(epoch).share[rows_B]

    def _of(self, epoch: int) -> Mixture:
        """Return the draws of an epoch."""
        if self._drawn is None or self._drawn[0] != epoch:
            key = (*self._key, "mix", epoch)
            self._drawn = epoch, mix.draw(self._count, self._size, self._stage.mixup, self._stage.cutmix, *key)
        return self._drawn[1]


def pairs(rows_B: Tensor) -> Tensor:
    """Return each image of a batch with its partner, (2, B)."""
    return torch.stack([rows_B, rows_B.roll(1)])
