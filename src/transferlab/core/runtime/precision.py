"""Lets networks compute in bfloat16 on CPUs that are faster with it, and says which CPUs those are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

CPUINFO = Path("/proc/cpuinfo")


@cache
def cpu_has_bfloat16_units() -> bool:
    """Return whether this processor multiplies bfloat16 matrices in hardware (Intel's AMX, as Linux lists it).

    AVX-512's bfloat16 instructions do not count: with them alone, networks gain little and some lose.
    """
    return CPUINFO.is_file() and re.search(r"^flags\s*:.*\bamx_bf16\b", CPUINFO.read_text(), re.MULTILINE) is not None


def has_linear_layers_alone(network: nn.Module) -> bool:
    """Return whether all parameters belong to linear layers: a head, which gains nothing from half precision."""
    return all(type(m) is nn.Linear for m in network.modules() if next(m.parameters(recurse=False), None) is not None)


@contextmanager
def autocast(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Run operations in `dtype` where torch's autocast does; float32 leaves everything as it is."""
    mixed = torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
    if device.type == "cpu" and dtype == torch.bfloat16 and torch.is_grad_enabled():
        with mixed, _DepthwiseMode():
            yield
    else:
        with mixed:
            yield


class _DepthwiseMode(TorchFunctionMode):
    """Sends grouped convolutions of autocast passes to `_GroupedConvolution`.

    A mode sees every call of `conv2d`, those of layers that pad by themselves (timm's `Conv2dSame`) included.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace a grouped convolution, and call anything else as it is."""
        if func is functional.conv2d:
            return _conv2d(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> Tensor:
    """Call `conv2d`, or `_GroupedConvolution` where there is more than one group."""
    if groups == 1 or isinstance(padding, str):
        return functional.conv2d(input, weight, bias, stride, padding, dilation, groups)
    pairs = tuple((x, x) if isinstance(x, int) else tuple(x) for x in (stride, padding, dilation))
    out: Tensor = _GroupedConvolution.apply(input, weight, bias, pairs, groups)
    return out


class _GroupedConvolution(torch.autograd.Function):
    """A grouped convolution, forward in bfloat16 and backward in float32.

    On CPUs the backward pass of depthwise convolutions in bfloat16 takes 72% of a training step of EfficientNet-Lite0,
    many times as long as in float32; their forward pass is fast.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, pairs: tuple[tuple[int, int], ...], groups: int
    ) -> Tensor:
        """Convolve in bfloat16."""
        x_half, weight_half = x.to(torch.bfloat16), weight.to(torch.bfloat16)
        ctx.save_for_backward(x_half, weight)
        ctx.pairs, ctx.groups = pairs, groups
        ctx.x_dtype, ctx.bias_dtype = x.dtype, None if bias is None else bias.dtype
        stride, padding, dilation = pairs
        bias_half = None if bias is None else bias.to(torch.bfloat16)
        return functional.conv2d(x_half, weight_half, bias_half, stride, padding, dilation, groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Differentiate in float32; what is stored in bfloat16 is widened first."""
        x, weight = ctx.saved_tensors
        stride, padding, dilation = ctx.pairs
        bias_sizes = None if ctx.bias_dtype is None else [len(weight)]
        wanted = list(ctx.needs_input_grad[:3])
        of_x, of_weight, of_bias = torch.ops.aten.convolution_backward(
            gradient.float(),
            x.float(),
            weight.float(),
            bias_sizes,
            stride,
            padding,
            dilation,
            False,
            (0, 0),
            ctx.groups,
            wanted,
        )
        return (
            of_x.to(ctx.x_dtype) if wanted[0] else None,
            of_weight.to(weight.dtype) if wanted[1] else None,
            of_bias.to(ctx.bias_dtype) if wanted[2] else None,
            None,
            None,
        )
