"""Folds BatchNorm into the convolutions before it, in networks that only evaluate.

In evaluation mode BatchNorm multiplies and shifts each channel by constants, which a convolution can do with its own
weights. One pass over the images' activations is saved per layer; the results are the same up to rounding.
"""

from __future__ import annotations

import copy
from collections import Counter
from contextlib import ExitStack
from typing import Any, TypeVar, cast

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Module = TypeVar("Module", bound=nn.Module)

# Largest difference that rounding explains, in standard deviations of the output; a wrong fold is off by about 1.
_MOST_DIFFERENCE = 1e-2


def folded(network: Module, example_BCHW: Tensor) -> Module:
    """Return a copy of a network with every BatchNorm folded that can be; the network itself if there is none.

    One forward pass finds the pairs: the input of a foldable BatchNorm *is* the output of a convolution, and both run
    once. What that pass cannot show, such as another use of a convolution's output, a pass of the copy does: if its
    output differs by more than rounding, the network itself is returned.

    Args:
        network: put into evaluation mode, and not changed otherwise.
        example_BCHW: an input, float32 on the network's device.
    """
    pairs, before = _pairs(network.eval(), example_BCHW)
    if not pairs:
        return network
    names = {module: name for name, module in network.named_modules()}
    result = copy.deepcopy(network)
    for convolution, norm in pairs:
        result.set_submodule(names[convolution], fuse_conv_bn_eval(convolution, norm))
        result.set_submodule(names[norm], _after(norm))
    with torch.inference_mode():
        difference = (result(example_BCHW) - before).abs().max()
    return result if difference <= _MOST_DIFFERENCE * before.std() else network


def _pairs(network: nn.Module, example_BCHW: Tensor) -> tuple[list[tuple[nn.Conv2d, nn.BatchNorm2d]], Tensor]:
    """Return the pairs that can be folded, in the order of a forward pass, and its result."""
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # by id of the output, which is kept so that no other takes its id
    calls: Counter[nn.Module] = Counter()
    found: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def after_convolution(module: nn.Module, _: Any, output: Tensor) -> None:
        calls[module] += 1
        made[id(output)] = cast("nn.Conv2d", module), output

    def before_norm(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        calls[module] += 1
        if id(inputs[0]) in made:
            convolution, _ = made.pop(id(inputs[0]))
            found.append((convolution, cast("nn.BatchNorm2d", module)))

    with ExitStack() as hooks, torch.inference_mode():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                hooks.enter_context(module.register_forward_hook(after_convolution))
            elif type(module) in (nn.BatchNorm2d, BatchNormAct2d) and module.track_running_stats:
                hooks.enter_context(module.register_forward_pre_hook(before_norm))
        output: Tensor = network(example_BCHW)
    return [(one, norm) for one, norm in found if calls[one] == calls[norm] == 1], output


def _after(norm: nn.BatchNorm2d) -> nn.Module:
    """Return what is left of a folded BatchNorm: nothing, or the activation that timm makes a part of it."""
    return nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
