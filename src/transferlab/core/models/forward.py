"""Forward passes without gradients.

Shapes: B images of a batch, N of a split, K classes, F features.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from transferlab.core.runtime.device import Machine

logger = logging.getLogger(__name__)

EVALUATION_BATCH = 64  # images in one forward pass without gradients
# On a CPU a pass holds 16 images of 224 px: with more, two networks took more memory and were no faster.
_FLOATS_ON_CPU = 16 * 3 * 224**2
# On other devices it holds as many floats as 64 images of 224 px, if they are smaller. An H200 was four fifths idle in
# passes of 64 images of 32 px.
_FLOATS_ON_DEVICE = EVALUATION_BATCH * 3 * 224**2
_MOST_ON_DEVICE = 4096


def evaluation_batch(device: torch.device, *shape: int) -> int:
    """Return how many inputs of a shape go through a network in one pass without gradients."""
    if device.type == "cpu":
        return max(1, min(_FLOATS_ON_CPU // math.prod(shape), EVALUATION_BATCH))
    return max(EVALUATION_BATCH, min(_FLOATS_ON_DEVICE // math.prod(shape), _MOST_ON_DEVICE))


def logits(network: nn.Module, inputs: Iterator[Tensor], machine: Machine) -> Tensor:
    """Return the logits (N, K), float32, of everything that `inputs` yields, in evaluation mode.

    Images are rendered in full precision: in half precision their coordinates would be off by a pixel.
    """
    network.eval()
    used = machine.for_network(network)
    done = []
    for x in inputs:
        for part in torch.split(x, machine.micro_batch or len(x)):
            with torch.inference_mode(), used.autocast():
                done.append(network(part).float())
    return torch.cat(done)


@contextmanager
def inputs_of(network: nn.Module, layers: Sequence[str]) -> Iterator[tuple[list[Tensor], ...]]:
    """Gather what some layers are given while open: for each, the features (B, F) of its calls, float32, on the CPU.

    Maps are averaged over space, tokens over their sequence.
    """
    gathered: tuple[list[Tensor], ...] = tuple([] for _ in layers)

    def gather(into: list[Tensor], layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        into.append(_averaged(inputs[0].detach().float(), layer).cpu())

    modules = [network.get_submodule(layer) for layer in layers]
    handles = [
        module.register_forward_pre_hook(partial(gather, into)) for module, into in zip(modules, gathered, strict=True)
    ]
    try:
        yield gathered
    finally:
        for handle in handles:
            handle.remove()


def per_image(gathered: Sequence[Sequence[Tensor]], count: int) -> tuple[NDArray[np.float32], ...]:
    """Return the features (N, F) of each layer; without layers that were given anything but one input per image.

    Args:
        gathered: by `inputs_of`.
        count: N.
    """
    return tuple(torch.cat(list(calls)).numpy() for calls in gathered if sum(map(len, calls)) == count)


def _averaged(x: Tensor, layer: nn.Module) -> Tensor:
    """Average all but the batch and the channels of a layer's input."""
    if x.ndim < 3:
        return x
    own = (x.shape[-1] == getattr(layer, "in_features", None), x.shape[-1:] == getattr(layer, "normalized_shape", None))
    are_last = x.ndim == 3 or any(own)  # of tokens, and of maps that a Linear or a LayerNorm takes
    return (x.movedim(-1, 1) if are_last else x).flatten(2).mean(dim=2)
