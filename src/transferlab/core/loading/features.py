"""Cached outputs of a frozen prefix, as batches for the rest of the network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
import torchvision
from torch import Tensor, nn

import transferlab
from transferlab.core.loading import feature_cache
from transferlab.core.loading.feature_cache import FeatureCacheConfig
from transferlab.core.loading.images import Images
from transferlab.core.models.backbones.registry import Model
from transferlab.core.models.forward import evaluation_batch
from transferlab.core.models.prefix import Cut, Tail, cut
from transferlab.core.runtime.device import upload
from transferlab.core.runtime.memory import has_room

logger = logging.getLogger(__name__)
MOST_RENDERED_BYTES = 256 << 20  # of held-out images that are kept as floats: 445 of 224 px


@dataclass(frozen=True)
class Features:
    """What a frozen prefix made of the views of `Images`: one (N, F...) tensor per view.

    Attributes:
        views: the features, on the device where there is room, else on the CPU.
        device: where batches are wanted.
        seconds: what computing them took, whenever that was.
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
        """How many go through the tail in one pass without gradients."""
        return evaluation_batch(self.device, *self.views[0].shape[1:])

    @property
    def on_device(self) -> bool:
        """Whether batches are cut from what is in the device's memory."""
        return self.views[0].device.type == self.device.type

    def batch(self, epoch: int, rows: Tensor) -> Tensor:
        """The tail's input for some images in an epoch, float32."""
        view = self.views[epoch % len(self.views)]
        x_BF = view[upload(rows, view.device)]
        return (x_BF if self.on_device else upload(x_BF, self.device)).float()

    def in_order(self, number: int = 0) -> Iterator[Tensor]:
        """All images of one view, in order, in batches for evaluation."""
        for rows in torch.split(torch.arange(len(self.views[number])), self.evaluation_batch):
            yield self.batch(number, rows)


StageInput = Images | Features


def rendered(images: Images) -> StageInput:
    """Held-out images as the network sees them, rendered once for all epochs; where they are many, as they are."""
    if len(images.split) * 3 * images.view.size**2 * 4 <= MOST_RENDERED_BYTES:
        return Features((torch.cat(list(images.in_order())),), images.machine.device)
    images.settle()
    return images


@dataclass(frozen=True)
class OnFeatures:
    """What is left to run of a network, and the features it runs on, for each of some splits."""

    tail: Tail
    sources: list[Features]


def on_features(
    network: nn.Module,
    splits: Sequence[Images],
    model: Model,
    folder: Path,
    keeping: FeatureCacheConfig,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> OnFeatures | None:
    """Put the frozen prefix of a network that has its policy behind it, where it has one and the features have room.

    Args:
        network: as its stage trains it.
        splits: with finitely many views each.
        model: what the network is.
        folder: where features are kept.
        keeping: how, and how many.
        tell: called with (images done, of all) while features are computed.
    """
    at = cut(network, splits[0].batch(0, torch.arange(1)))
    if at is None:
        return None
    count = sum(len(images.split) * (images.views or 0) for images in splits)
    needed = keeping.bytes_of(count, at.shape)
    if needed > keeping.limit_gb * 1e9:
        logger.info(
            "features of %d views of images would take %.3g GB, more than training.features.limit_gb (%g): "
            "the frozen layers run in every step",
            count,
            needed / 1e9,
            keeping.limit_gb,
        )
        return None
    device, done = splits[0].machine.device, 0

    def computed(images: int) -> None:
        nonlocal done
        done += images
        tell(done, count)

    home = device if has_room(device, needed) else torch.device("cpu")
    sources = []
    for images in splits:
        numbers = range(images.views or 0)
        views = [_features(images, number, at, model, folder, keeping, computed) for number in numbers]
        seconds = sum(view.seconds for view in views)
        sources.append(Features(tuple(view.features.to(home) for view in views), device, seconds))
    return OnFeatures(at.tail, sources)


def _features(
    images: Images,
    number: int,
    at: Cut,
    model: Model,
    folder: Path,
    keeping: FeatureCacheConfig,
    computed: Callable[[int], None],
) -> feature_cache.Stored:
    """The features of one view, from the cache in `folder` or computed.

    The key holds all that they depend on, to the bit: architecture, weights and place of the cut, view, draws, images,
    machine (precision, device, threads) and versions.
    """
    machine, versions = images.machine, [m.__version__ for m in (transferlab, torch, torchvision, timm)]
    draws_key = (images.operations, images.seed, number) if images.operations else ()
    key = (model.name, at, images.view, draws_key, images.split.fingerprint, machine.numerics(), versions)

    def make() -> Iterator[Tensor]:
        for x_BF in feature_cache.compute(at, images.in_order(number), machine):
            computed(len(x_BF))
            yield x_BF

    return feature_cache.cached(folder, key, len(images.split), make, keeping)
