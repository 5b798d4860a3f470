"""Folds layers into convolutions, in networks that only evaluate.

In evaluation mode BatchNorm multiplies and shifts each channel by constants, which the convolution before it can do
with its own weights. TensorFlow's "same" padding adds more zeros after an image than before it, which takes a copy of
the image; a kernel with zeros before its weights needs as many on both sides, which a convolution adds by itself. One
pass over the images' activations is saved per layer; the results are the same up to rounding.

Padding is folded on CPUs and into depthwise convolutions only: these wait for memory, while a larger kernel costs the
others more than the copy did.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple, TypeVar, cast

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from timm.layers.padding import get_same_padding
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

Module = TypeVar("Module", bound=nn.Module)

# Largest difference that rounding explains, in standard deviations of the output; a wrong fold is off by about 1.
_MOST_DIFFERENCE = 1e-2


def folded(network: Module, example_BCHW: Tensor) -> Module:
    """Return a copy of a network, for inputs of one size, with all folded that can be; without any, the network itself.

    One forward pass finds the pairs: the input of a foldable BatchNorm *is* the output of a convolution, and both run
    once. What that pass cannot show, such as another use of a convolution's output, a pass of the copy does: if its
    output differs by more than rounding, no BatchNorm is folded.

    Args:
        network: put into evaluation mode, and not changed otherwise.
        example_BCHW: an input of that size, float32 on the network's device.
    """
    found = _found(network.eval(), example_BCHW)
    for pairs in (found.pairs, []):
        if not (pairs or found.padded):
            break
        result = _replaced(network, pairs, found.padded)
        with torch.inference_mode():
            difference = (result(example_BCHW) - found.output).abs().max()
        if difference <= _MOST_DIFFERENCE * found.output.std():
            return result
    return network


def _replaced(
    network: Module, pairs: Iterable[tuple[nn.Conv2d, nn.BatchNorm2d]], padded: Mapping[Conv2dSame, tuple[int, int]]
) -> Module:
    names = {module: name for name, module in network.named_modules()}
    result = copy.deepcopy(network)
    for convolution, norm in pairs:
        result.set_submodule(names[convolution], fuse_conv_bn_eval(convolution, norm))
        result.set_submodule(names[norm], _after(norm))
    for same, size in padded.items():
        result.set_submodule(names[same], _symmetric(result.get_submodule(names[same]), size))
    return result


class _Found(NamedTuple):
    """What a forward pass shows.

    Attributes:
        pairs: of convolution and BatchNorm that can be folded, in the order of the pass.
        padded: depthwise convolutions with "same" padding, on a CPU, and the height and width of their input.
        output: of the network.
    """

    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]]
    padded: dict[Conv2dSame, tuple[int, int]]
    output: Tensor


def _found(network: nn.Module, example_BCHW: Tensor) -> _Found:
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # by id of the output, which is kept so that no other takes its id
    calls: Counter[nn.Module] = Counter()
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    padded: dict[Conv2dSame, tuple[int, int]] = {}

    def after_convolution(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        calls[module] += 1
        made[id(output)] = cast("nn.Conv2d", module), output
        if isinstance(module, Conv2dSame) and _pays(module) and output.device.type == "cpu":
            padded[module] = tuple(inputs[0].shape[2:])

    def before_norm(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        calls[module] += 1
        if id(inputs[0]) in made:
            convolution, _ = made.pop(id(inputs[0]))
            pairs.append((convolution, cast("nn.BatchNorm2d", module)))

    with ExitStack() as hooks, torch.inference_mode():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                hooks.enter_context(module.register_forward_hook(after_convolution))
            elif type(module) in (nn.BatchNorm2d, BatchNormAct2d) and module.track_running_stats:
                hooks.enter_context(module.register_forward_pre_hook(before_norm))
        output: Tensor = network(example_BCHW)
    once = [(one, norm) for one, norm in pairs if calls[one] == calls[norm] == 1]
    return _Found(once, {module: size for module, size in padded.items() if calls[module] == 1}, output)


def _pays(convolution: Conv2dSame) -> bool:
    is_depthwise = convolution.groups == convolution.in_channels
    return is_depthwise and convolution.dilation == (1, 1)  # with gaps, one more zero does not shift the kernel by one


def _symmetric(convolution: nn.Module, size: tuple[int, int]) -> nn.Conv2d:
    """Return the same convolution of inputs of this height and width, padded by as many zeros on both sides."""
    same = cast("nn.Conv2d", convolution)
    needed = [
        get_same_padding(length, kernel, stride, 1)
        for length, kernel, stride in zip(size, same.kernel_size, same.stride, strict=True)
    ]
    below, right = (count % 2 for count in needed)  # 1 where one more zero follows the image than is before it
    result = torch.nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d,
        same.in_channels,
        same.out_channels,
        kernel_size=(same.kernel_size[0] + below, same.kernel_size[1] + right),
        stride=same.stride,
        padding=tuple((count + 1) // 2 for count in needed),
        groups=same.groups,
        bias=same.bias is not None,
    )
    result.weight = nn.Parameter(functional.pad(same.weight.detach(), (right, 0, below, 0)), requires_grad=False)
    result.bias = same.bias
    return cast("nn.Conv2d", result.eval())


def _after(norm: nn.BatchNorm2d) -> nn.Module:
    """Return what is left of a folded BatchNorm: nothing, or the activation that timm makes a part of it."""
    return nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
