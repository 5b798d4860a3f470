"""Whether torch compiles the passes of a stage, and how.

Last bits depend on whether, so that this is decided by the config and the device alone, never by a clock.
"""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from typing import Literal, cast

import torch
from torch import nn

from transferlab.core.runtime.device import Machine
from transferlab.core.strategies.strategy import Stage

# Of all inputs of a stage: 20 epochs of 20,000 images of 224 px. Compiling takes about a minute and saves a part of the
# time of such a stage, which is many minutes.
LONG_STAGE_PIXELS = 2e10
# Of a batch: 20 images of 224 px. Smaller ones are worked on faster than the kernels for them can be launched.
SMALL_BATCH_PIXELS = 1 << 20

Mode = Literal["default", "reduce-overhead"]


def is_compiled(machine: Machine, stage: Stage, images: int, size: int, head_alone: bool) -> bool:
    """What `training.compute.compile` means for a stage. `auto` compiles long ones on CUDA, where that can be done.

    Not on a CPU, where compiling takes as long and gains nothing that we could measure, nor on MPS.

    Args:
        machine: what was chosen.
        stage: the config.
        images: of the training split.
        size: px of the square that the stage trains on.
        head_alone: whether the head alone is trained on so many views, whose features as a rule are kept: there is
            little to compile.
    """
    if isinstance(machine.compile, bool):
        return machine.compile
    is_long = stage.epochs * images * size**2 > LONG_STAGE_PIXELS
    return machine.device.type == "cuda" and is_long and not head_alone and can_compile()


def can_compile() -> bool:
    """Whether there is what torch compiles with for CUDA: Triton, and the C compiler that Triton needs."""
    compilers = (os.environ.get("CC"), "cc", "gcc", "clang")
    return find_spec("triton") is not None and any(shutil.which(name) for name in compilers if name)


def mode(machine: Machine, stage: Stage, size: int, on_device: bool) -> Mode:
    """How a compiled stage runs: small batches on CUDA as graphs of kernels, launched as one; the bits are the same.

    A graph writes over what it gave before, gradients too, so a batch must be one pass. DDP has buffers of its own, and
    a thread that makes batches must not allocate while a graph is recorded.

    Args:
        machine: what was chosen.
        stage: the config.
        size: px of the square that the stage trains on.
        on_device: whether batches are cut from what the device holds.
    """
    is_small = stage.batch_size * size**2 <= SMALL_BATCH_PIXELS
    is_whole = machine.micro_batch is None or machine.micro_batch > stage.batch_size  # a last image joins a batch
    is_alone = machine.device.type == "cuda" and machine.devices == 1 and on_device
    return "reduce-overhead" if is_alone and is_small and is_whole else "default"


def compiled(network: nn.Module, how: Mode | None) -> nn.Module:
    """The network as torch compiles it, sharing its tensors; itself where `how` is None.

    What was compiled before is forgotten, and each batch size gets kernels of its own: by default they would depend on
    which sizes and networks came first, and a trial that goes on after a kill would end with other bits.
    """
    if how is None:
        return network
    torch.compiler.reset()
    return cast("nn.Module", torch.compile(network, mode=how, dynamic=False))


def begin_pass(how: Mode | None) -> None:
    """Say that nothing of the pass before is needed any more, which is when a graph may write over it."""
    if how == "reduce-overhead":
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
