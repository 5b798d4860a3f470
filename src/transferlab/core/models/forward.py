"""Forward passes without gradients.

Shapes: B images of a batch, N of a split, K classes, F features.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from transferlab.core.runtime.device import Machine

logger = logging.getLogger(__name__)

# Images in one forward pass without gradients: enough to keep any device busy.
EVALUATION_BATCH = 64
# On a CPU a pass holds 16 images of 224 px: with more, two networks took more memory and were no faster.
_FLOATS_ON_CPU = 16 * 3 * 224**2


def evaluation_batch(device: torch.device, *shape: int) -> int:
    """Return how many inputs of a shape go through a network in one pass without gradients."""
    most = _FLOATS_ON_CPU // math.prod(shape) if device.type == "cpu" else EVALUATION_BATCH
    return max(1, min(most, EVALUATION_BATCH))


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
def head_inputs(network: nn.Module, head: Sequence[str]) -> Iterator[list[Tensor]]:
    """Gather what the head is given while open: the features (B, F) of each pass, float32, on the CPU.

    Of several modules that make logits the last counts: the ones before are auxiliary. Maps are averaged over space,
    tokens over their number.
    """
    gathered: list[Tensor] = []

    def gather(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach().float()
        gathered.append((x.mean(dim=(2, 3)) if x.ndim == 4 else x.mean(dim=1) if x.ndim == 3 else x).cpu())

    handle = network.get_submodule(head[-1]).register_forward_pre_hook(gather)
    try:
        yield gathered
    finally:
        handle.remove()
