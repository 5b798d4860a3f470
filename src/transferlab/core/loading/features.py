"""Computes the outputs of a frozen prefix once, and serves them as batches for the rest of the network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from transferlab.core.loading.feature_cache import FeatureCache
from transferlab.core.loading.frozen_prefix import FrozenPrefix
from transferlab.core.loading.gpu_cache import GpuCache
from transferlab.core.loading.images import Images, Split
from transferlab.core.models.backbones.model import Model
from transferlab.core.models.forward import evaluation_batch
from transferlab.core.models.prefix import Tail, cut
from transferlab.core.runtime.device import upload
from transferlab.core.runtime.memory import has_room

logger = logging.getLogger(__name__)
MOST_RENDERED_BYTES = 256 << 20  # of held-out images that are kept as floats: 445 of 224 px


@dataclass(frozen=True)
class Features:
    """Holds the outputs of a frozen prefix for the views of `Images`: one (N, F...) tensor per view.

    Attributes:
        views: the features, on the device if there is room, else on the CPU.
        device: the device that batches are for.
        seconds: the time that computing them took, whenever that was.
    """

    views: tuple[Tensor, ...]
    device: torch.device
    seconds: float = 0.0

    @property
    def nbytes(self) -> int:
        """Size of all views."""
        return sum(view.nbytes for view in self.views)

    @property
    def evaluation_batch(self) -> int:
        """How many images go through the tail in one pass without gradients."""
        return evaluation_batch(self.device, *self.views[0].shape[1:])

    @property
    def on_device(self) -> bool:
        """Whether batches are cut from features in the device's memory."""
        return self.views[0].device.type == self.device.type

    def batch(self, epoch: int, rows: Tensor) -> Tensor:
        """Return the tail's input for some images in an epoch, float32."""
        view = self.views[epoch % len(self.views)]
        x_BF = view[upload(rows, view.device)]
        return (x_BF if self.on_device else upload(x_BF, self.device)).float()

    def in_order(self, number: int = 0) -> Iterator[Tensor]:
        """Yield all images of one view, in order, in batches for evaluation."""
        for rows in torch.split(torch.arange(len(self.views[number])), self.evaluation_batch):
            yield self.batch(number, rows)


StageInput = Images | Features


def rendered(images: Images, gpu_cache: GpuCache) -> StageInput:
    """Render held-out images once for all epochs; if they are many, only move them to where they are rendered."""
    if len(images.split) * 3 * images.view.size**2 * 4 <= MOST_RENDERED_BYTES:
        return Features((torch.cat(list(images.in_order())),), images.machine.device)
    images.move_to(gpu_cache)
    return images


@dataclass(frozen=True)
class OnFeatures:
    """The rest of a network, and the features that it runs on for each split."""

    tail: Tail
    sources: list[Features]


def on_features(
    network: nn.Module,
    splits: Sequence[Images],
    model: Model,
    feature_cache: FeatureCache,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> OnFeatures | None:
    """Replace a network's frozen prefix by its features; None if it has no such prefix or they take too much space.

    Args:
        network: with the policy of its stage.
        splits: each with finitely many views.
        model: the network's name and weights.
        feature_cache: keeps the features.
        tell: called with (images done, of all) while features are computed.
    """
    at = cut(network, splits[0].batch(0, torch.arange(1)))
    if at is None:
        return None
    wholes = [_whole(images) for images in splits]
    count = sum(len(images.split) * (images.views or 0) for images in wholes)
    config = feature_cache.config
    needed = config.bytes_of(count, at.shape)
    if needed > config.limit_gb * 1e9:
        logger.info(
            "features of %d views of images would take %.3g GB, more than training.features.limit_gb (%g): "
            "the frozen layers run in every step",
            count,
            needed / 1e9,
            config.limit_gb,
        )
        return None
    device = splits[0].machine.device
    prefix = FrozenPrefix(at, model.description, lambda done: tell(done, count))
    home = device if has_room(device, needed) else torch.device("cpu")
    sources = []
    for images, whole in zip(splits, wholes, strict=True):
        views = [prefix.features(whole, number, feature_cache) for number in range(images.views or 0)]
        seconds = sum(view.seconds for view in views)
        own = slice(None) if whole is images else images.split.places
        sources.append(Features(tuple(view.features[own].to(home) for view in views), device, seconds))
    return OnFeatures(at.tail, sources)


def _whole(images: Images) -> Images:
    """Return the images of all splits, if trials have splits of their own: their features are computed once for all.

    Batches then hold other neighbours, so that the last bits may differ from those of a split alone.
    """
    split = images.split
    if split.pool is None:
        return images
    unlabelled = np.zeros(len(split.pool), dtype=np.int64)
    return Images(
        Split("all", split.store, split.pool, unlabelled),
        images.view,
        images.machine,
        images.operations,
        images.seed,
        images.views,
    )
