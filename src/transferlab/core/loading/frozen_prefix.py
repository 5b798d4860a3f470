"""Runs the frozen beginning of a network over views of images: folded, and compiled where that pays."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

import transferlab
from transferlab.core.loading.feature_cache import FeatureCache, Stored
from transferlab.core.loading.images import Images
from transferlab.core.models.compiled_pass import CompiledPass, CompileError, compiles_frozen_layers
from transferlab.core.models.folding import folded
from transferlab.core.models.prefix import Cut
from transferlab.core.runtime.device import Machine

logger = logging.getLogger(__name__)
# What this process has compiled, or why it could not, which it does not try again. Strategies share networks, and torch
# keeps the weights of all that it has compiled.
_passes: dict[tuple[Any, ...], CompiledPass | CompileError] = {}


class FrozenPrefix:
    """The frozen beginning of a network, which turns views of images into features.

    Layers are folded into convolutions (`folding`), so features equal what the network computes up to rounding.
    """

    def __init__(self, at: Cut, name: str, tell: Callable[[int], None] = lambda done: None) -> None:
        self._at, self._name, self._tell = at, name, tell
        self._done = 0
        self._folded: nn.Module | None = None

    def features(self, images: Images, number: int, feature_cache: FeatureCache) -> Stored:
        """Return the features of one view, from the cache or computed, compiled if all views are much work."""
        key, count = self._key(images, number), len(images.split)
        if compiles_frozen_layers(images.machine, count * (images.views or 1), images.view.size):
            compiled_key, batch = {**key, "compiled": True}, images.evaluation_batch
            try:
                return feature_cache.get(compiled_key, count, lambda: self._computed(images, number, batch))
            except CompileError as error:
                _warn_once(
                    f"{self._name}: its frozen layers run uncompiled, since compiling failed ({error}); "
                    "with training.compute.compile: false it is not tried"
                )
        return feature_cache.get(key, count, lambda: self._computed(images, number))

    def _computed(self, images: Images, number: int, compiled_for: int | None = None) -> Iterator[Tensor]:
        for x_BCHW in images.in_order(number):
            for x_BF in self.run(x_BCHW, images.machine, compiled_for):
                self._done += len(x_BF)
                self._tell(self._done)
                yield x_BF

    def run(self, x_BCHW: Tensor, machine: Machine, compiled_for: int | None = None) -> Iterator[Tensor]:
        """Yield the features (B, F...) of a batch, pass by pass, float32 on the CPU.

        Args:
            x_BCHW: the batch.
            machine: computes it.
            compiled_for: how many images a whole batch has, to run compiled passes; None runs them uncompiled.

        Raises:
            CompileError: they cannot be compiled.
        """
        if self._folded is None:
            self._folded = folded(self._at.prefix, x_BCHW[:1])
        used, most = machine.for_network(self._at.prefix), machine.micro_batch or len(x_BCHW)
        if compiled_for:  # equal passes, so that little is padded
            most = math.ceil(compiled_for / math.ceil(compiled_for / (machine.micro_batch or compiled_for)))
        for part in torch.split(x_BCHW, most):
            if compiled_for:
                x_BF = self._pass(self._folded, part, most, used)(part)
            else:
                with torch.inference_mode(), used.autocast():
                    x_BF = self._folded(part.to(memory_format=used.memory_format))
            yield x_BF.float().cpu()

    def _pass(self, network: nn.Module, x_BCHW: Tensor, batch: int, machine: Machine) -> CompiledPass:
        """Return the pass that is compiled for images of this shape, and a batch of so many.

        Raises:
            CompileError: it cannot be compiled.
        """
        key = (self._name, self._at.prefix_sha256, x_BCHW.shape[1:], batch, machine)
        if key not in _passes:
            self._tell(self._done)
            logger.info("%s: compiling its frozen layers, which may take a minute", self._name)
            try:
                _passes[key] = CompiledPass(network, x_BCHW, batch, machine)
            except CompileError as error:
                _passes[key] = error
        found = _passes[key]
        if isinstance(found, CompileError):
            raise found
        return found

    def _key(self, images: Images, number: int) -> dict[str, Any]:
        """Name all that features depend on, to the bit, as plain values."""
        operations = [asdict(operation) for operation in images.operations]
        return {
            "model": self._name,
            "prefix": {"node": self._at.node, "shape": list(self._at.shape), "sha256": self._at.prefix_sha256},
            "folded": ["batch_norm", "depthwise_padding"],
            "view": asdict(images.view),
            "draws": {"operations": operations, "seed": list(images.seed), "view": number} if operations else None,
            "split": images.split.fingerprint,
            "machine": images.machine.for_network(self._at.prefix).numerics(),
            "versions": {module.__name__: module.__version__ for module in (transferlab, torch, torchvision, timm)},
        }


@cache
def _warn_once(text: str) -> None:
    logger.warning("%s", text)
