"""One or several checkpoints as one predictor: images are pushed in, probabilities come out in their order.

Each network runs on the same batches, cut at the same place, as the evaluation runs it, so that the same images give
the same probabilities: on a CPU to the bit.

Shapes: B images of a batch, S px of the square the network sees, K classes, F features (F... what
the tail takes).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from transferlab.core.data.decoding.levels import Levels
from transferlab.core.errors import MendableError
from transferlab.core.loading.frozen_prefix import FrozenPrefix
from transferlab.core.models import factory, forward, freezing, layers
from transferlab.core.models.backbones.model import described
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.models.prefix import Cut, cut
from transferlab.core.runtime.device import Machine
from transferlab.core.transforms.pixels import HostImages
from transferlab.core.transforms.view import View


class EnsembleError(MendableError):
    """Checkpoints that cannot predict together."""


class Answer(NamedTuple):
    """What networks make of one image.

    Attributes:
        p_K: the mean of their probabilities.
        features: of each network, and of each layer that is looked at, (F,); see `layers.telling`.
    """

    p_K: NDArray[np.float64]
    features: tuple[tuple[NDArray[np.float32], ...], ...]


class Ensemble:
    """The mean of the probabilities of its members."""

    def __init__(self, checkpoints: Sequence[Checkpoint], machine: Machine) -> None:
        """Build the networks.

        Raises:
            CheckpointError: a checkpoint does not fit the network that it names.
            EnsembleError: there is no checkpoint, or their classes differ.
        """
        self.classes = _common_classes(checkpoints)
        self.levels = _common_levels(checkpoints)
        self._members: list[_Member] = []  # in the order of the checkpoints
        by_view: dict[View, list[_Member]] = {}
        for checkpoint in checkpoints:
            self._members.append(_Member(checkpoint, machine))
            by_view.setdefault(checkpoint.header.view, []).append(self._members[-1])
        self.views = tuple(by_view)
        self._batchers = [_Batcher(view, members, machine) for view, members in by_view.items()]

    def push(self, images: Sequence[NDArray[np.uint8]]) -> None:
        """Take in one image, as image_HWC for each of `views`, resized as its `stored_as` says."""
        for batcher, image_HWC in zip(self._batchers, images, strict=True):
            batcher.push(image_HWC)

    def finish(self) -> None:
        """Run what is left: no image will follow."""
        for batcher in self._batchers:
            batcher.run()
        for member in self._members:
            member.finish()

    def pop(self) -> Answer | None:
        """Return the answer for the next image in order, or None when its batch has not run yet."""
        if not all(member.ready for member in self._members):
            return None
        probabilities, features = zip(*(member.ready.popleft() for member in self._members), strict=True)
        return Answer(np.mean(probabilities, axis=0), features)


def _common_classes(checkpoints: Sequence[Checkpoint]) -> tuple[str, ...]:
    if not checkpoints:
        raise EnsembleError("no checkpoint to predict with")
    first, *others = checkpoints
    for other in others:
        if other.header.classes != first.header.classes:
            raise EnsembleError(
                f"{other.path or 'a checkpoint'} and {first.path or 'another'} have different classes "
                f"({', '.join(other.header.classes[:5])}; {', '.join(first.header.classes[:5])}): "
                "only trials that know the same classes in the same order can predict together"
            )
    return first.header.classes


def _common_levels(checkpoints: Sequence[Checkpoint]) -> Levels | None:
    first, *others = checkpoints
    for other in others:
        if other.header.levels != first.header.levels:
            raise EnsembleError(
                f"{other.path or 'a checkpoint'} and {first.path or 'another'} have seen grey values of more than 8 "
                f"bits in different ranges ({other.header.levels}; {first.header.levels}): use trials of one run"
            )
    return first.header.levels


class _Batcher:
    """Gathers images into batches for the members that share a view."""

    def __init__(self, view: View, members: Sequence[_Member], machine: Machine) -> None:
        self.view, self.members, self.machine = view, members, machine
        self.count = forward.evaluation_batch(machine.device, 3, view.size, view.size)
        self.images: list[NDArray[np.uint8]] = []

    def push(self, image_HWC: NDArray[np.uint8]) -> None:
        self.images.append(image_HWC)
        if len(self.images) == self.count:
            self.run()

    def run(self) -> None:
        if self.images:
            images = HostImages(self.images, self.machine.device)
            x_B3SS = self.view.render(images, self.view.draw(images.shape_N2, (), None))
            self.images = []
            for member in self.members:
                member.take(x_B3SS.to(memory_format=self.machine.memory_format))


class _Member:
    """A network whose frozen prefix runs on batches of images, and the rest on batches of features, as in evaluation.

    Attributes:
        ready: probabilities (K,) and the features (F,) of each layer that nobody took yet, in the order of the images.
    """

    def __init__(self, checkpoint: Checkpoint, machine: Machine) -> None:
        self.machine = machine
        self.network = factory.load(checkpoint, machine)
        self.cut: Cut | None = None
        self.prefix: FrozenPrefix | None = None
        self._is_whole = not _freeze(self.network, checkpoint)
        self._name = described(checkpoint.header.model, checkpoint.header.pooled)
        self._layers = layers.telling(self.network, checkpoint.header.head)
        self.ready: deque[tuple[NDArray[np.float64], tuple[NDArray[np.float32], ...]]] = deque()
        self._features: list[Tensor] = []

    def take(self, x_B3SS: Tensor) -> None:
        """Run a batch of images as far as it fills batches of features."""
        if self.cut is None and not self._is_whole:
            self.cut = cut(self.network, x_B3SS[:1])
            self.prefix = FrozenPrefix(self.cut, self._name) if self.cut else None
            self._is_whole = self.cut is None
        if self.cut is None or self.prefix is None:
            self._run(self.network, x_B3SS)
            return
        self._features += self.prefix.run(x_B3SS, self.machine)
        count = forward.evaluation_batch(self.machine.device, *self.cut.shape)
        gathered_NF = torch.cat(self._features)
        *full, rest_BF = torch.split(gathered_NF, count)
        if len(rest_BF) == count:
            full, rest_BF = [*full, rest_BF], gathered_NF[:0]
        for x_BF in full:
            self._run(self.cut.tail, x_BF.to(self.machine.device))
        self._features = [rest_BF]

    def finish(self) -> None:
        """Run the rest of the network on what does not fill a batch."""
        rest_BF = torch.cat(self._features) if self._features else torch.empty(0)
        if self.cut is not None and len(rest_BF):
            self._run(self.cut.tail, rest_BF.to(self.machine.device))
        self._features = []

    def _run(self, network: nn.Module, x: Tensor) -> None:
        with forward.inputs_of(self.network, self._layers) as gathered:
            logits_BK = forward.logits(network, iter([x]), self.machine)
        p_BK = logits_BK.cpu().double().softmax(dim=1).numpy()
        of_images = zip(*forward.per_image(gathered, len(p_BK)), strict=True)
        self.ready.extend(zip(p_BK, of_images, strict=True))


def _freeze(network: nn.Module, checkpoint: Checkpoint) -> bool:
    """Freeze what no stage of the recipe trained, as the evaluation does; return whether any stage trained anything."""
    stages = ((checkpoint.header.recipe or {}).get("stages") or {}).values()
    policies = [freezing.from_json(stage["trainable"]) for stage in stages]
    return freezing.freeze_untrained(network, policies, checkpoint.header.head)
