"""Compiles the forward passes of frozen layers for a CPU, where enough images go through them.

torch's Inductor writes the layers as C++ with their weights as constants ("freezing"), so that these are laid out and
rounded once. The outputs are the same up to rounding. So that their bits stay the same, the config, the tools of the
machine and the amount of work decide, never a clock.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from transferlab.core.runtime.device import Machine

# All images that a thread computes: 20,000 of 224 px in float32, 10,000 in half precision, which CPUs with AMX choose.
# On two threads of an AMD EPYC with AVX-512 compiling is repaid by 18,600 images of 224 px (EfficientNet-Lite0), 41,900
# of 96 px (the same), and 6,200 of 224 px (ResNet-18): by 1.6e8 to 4.7e8 pixels for each thread (benchmarks.compiling).
# In bfloat16 with AMX it saves several times as much of each image.
LONG_PREFIX_PIXELS, LONG_IN_HALF = 1e9, 5e8
# Largest difference that rounding explains, in standard deviations of the output, in float32 and in half precision.
_MOST_DIFFERENCE, _MOST_IN_HALF = 1e-2, 0.5


class CompileError(Exception):
    """Layers that cannot be compiled on this machine; says why."""


def compiles_frozen_layers(machine: Machine, images: int, size: int) -> bool:
    """Resolve `training.compute.compile` for frozen layers; `auto` compiles for many images if torch can compile.

    Nothing is compiled on other devices than a CPU.

    Args:
        machine: the resolved compute settings.
        images: how many go through the layers, each view of an image counted.
        size: px of their sides.
    """
    if machine.device.type != "cpu":
        return False
    if isinstance(machine.compile, bool):
        return machine.compile
    least = LONG_PREFIX_PIXELS if machine.dtype == torch.float32 else LONG_IN_HALF
    return images * size**2 > least * machine.threads and can_compile()


def can_compile() -> bool:
    """Check for what torch needs to compile for a CPU: on Linux, a C++ compiler and Python's own header."""
    compiler = shlex.split(os.environ.get("CXX", "g++"))[:1]
    has_header = Path(sysconfig.get_path("include"), "Python.h").is_file()
    return sys.platform == "linux" and has_header and any(shutil.which(name) for name in compiler)


class CompiledPass:
    """A forward pass without gradients, compiled for batches of one size: smaller ones are padded, and cut again."""

    def __init__(self, network: nn.Module, example_BCHW: Tensor, batch: int, machine: Machine) -> None:
        """Compile, and compare what comes out.

        Args:
            network: in evaluation mode; it stays as it is.
            example_BCHW: at most as many inputs as a batch has.
            batch: how many inputs a pass has.
            machine: in whose precision and memory format it computes.

        Raises:
            CompileError: torch cannot compile, or what it compiled gives other outputs.
        """
        self._batch, self._machine = batch, machine
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns that there is no GPU
        try:
            self._run = cast("Callable[[Tensor], Tensor]", torch.compile(network, dynamic=False))
        except RuntimeError as error:  # of a Python that it does not know yet
            raise CompileError(_cause(error)) from error
        found = self(example_BCHW)
        with torch.inference_mode(), machine.autocast():
            expected = network(example_BCHW.to(memory_format=machine.memory_format)).float()
        difference, deviation = (found.float() - expected).abs().max(), expected.std()
        if not difference <= (_MOST_DIFFERENCE if machine.dtype == torch.float32 else _MOST_IN_HALF) * deviation:
            told = (difference / deviation).item()
            raise CompileError(f"compiled, they differ by {told:.2g} standard deviations of their output")

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """Return the outputs (B, F...) of at most a batch of inputs.

        Raises:
            CompileError: torch cannot compile: at first, or again after `torch.compiler.reset`.
        """
        from torch._inductor import config  # slow to import, and needed here alone

        missing = self._batch - len(x_BCHW)
        padded = torch.cat([x_BCHW, x_BCHW[-1:].expand(missing, -1, -1, -1)]) if missing else x_BCHW
        options = config.patch(freezing=True, compile_threads=self._machine.threads)
        try:
            with torch.no_grad(), self._machine.autocast(), options:
                x_BF = self._run(padded.to(memory_format=self._machine.memory_format))
        except Exception as error:  # a compiler fails in many ways; the network's own errors come up without it, too
            raise CompileError(_cause(error)) from error
        return x_BF[: len(x_BCHW)]


def _cause(error: BaseException) -> str:
    """Return the line of a compiler's output, or of its exception, that says what is wrong."""
    lines = [line.strip() for line in f"{type(error).__name__}: {error}".splitlines() if line.strip()]
    told = next((line for line in lines[1:] if "error: " in line), lines[0])
    return told if len(told) <= 300 else f"{told[:300]}..."
