"""Decides whether and how torch compiles a stage's passes, and says what `models.compiled_pass` decides of features.

Compilation changes the last bits, so only the config and the device decide it, never a clock.
"""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from typing import Literal, cast

import torch
from torch import nn

from transferlab.core.models import compiled_pass, freezing
from transferlab.core.runtime.device import Machine
from transferlab.core.strategies.strategy import Stage
from transferlab.core.training.spec import TrialSpec

# All inputs of a stage: 20 epochs of 20,000 images of 224 px. Compiling takes about a minute and saves a part of such a
# stage's time, which is many minutes.
LONG_STAGE_PIXELS = 2e10
# One batch: 20 images of 224 px. The device finishes smaller ones faster than kernels can be launched.
SMALL_BATCH_PIXELS = 1 << 20

Mode = Literal["default", "reduce-overhead"]


def compiled_stages(spec: TrialSpec, machine: Machine, network: nn.Module) -> dict[str, bool]:
    """Return whether each stage of a trial is compiled."""
    head, view, found = spec.initial.header.head, spec.initial.header.view, {}
    names = [name for name, _ in network.named_parameters()]
    for name, stage in spec.strategy.stages.items():
        head_alone = stage.distinct_views is not None and freezing.trains_head_alone(stage.trainable, names, head)
        found[name] = compiles_stage(machine, stage, len(spec.train), view.at(stage.size).size, head_alone)
    return found


def compiles_stage(machine: Machine, stage: Stage, images: int, size: int, head_alone: bool) -> bool:
    """Resolve `training.compute.compile` for a stage; `auto` compiles long stages on CUDA if torch can compile.

    It compiles no stage on a CPU, where compiling takes as long and gained nothing that we could measure, nor on MPS.

    Args:
        machine: the resolved compute settings.
        stage: the config.
        images: how many the training split has.
        size: px of the square that the stage trains on.
        head_alone: whether only the head trains, on a fixed number of views. Their features are usually cached, which
            leaves little to compile.
    """
    if isinstance(machine.compile, bool):
        return machine.compile
    is_long = stage.epochs * images * size**2 > LONG_STAGE_PIXELS
    return machine.device.type == "cuda" and is_long and not head_alone and can_compile()


def compiled_features(spec: TrialSpec, machine: Machine) -> dict[str, bool]:
    """Return which features of a trial compiled layers compute, as far as layers are frozen; others are not in it."""
    view, train, stages = spec.initial.header.view, spec.train, spec.strategy.stages
    kept = {name: stage for name, stage in stages.items() if stage.distinct_views is not None}
    asked = {f"stage {name}": (train, stage.distinct_views or 1, view.at(stage.size)) for name, stage in kept.items()}
    if spec.held_out and kept:
        asked["held-out images"] = (spec.held_out, 1, view)
    if spec.strategy.model.pooled or spec.strategy.head == "classifier":
        asked["beginning"] = (train, 1, view)  # see `head_start`
    return {
        what: True
        for what, (split, views, seen) in asked.items()
        if compiled_pass.compiles_frozen_layers(
            machine, views * len(split.rows if split.pool is None else split.pool), seen.size
        )
    }


def can_compile() -> bool:
    """Check for what torch needs to compile for CUDA: Triton, and the C compiler that Triton needs."""
    compilers = (os.environ.get("CC"), "cc", "gcc", "clang")
    return find_spec("triton") is not None and any(shutil.which(name) for name in compilers if name)


def mode(machine: Machine, stage: Stage, size: int, on_device: bool) -> Mode:
    """Choose how a compiled stage runs: small batches on CUDA as CUDA graphs, whose bits are the same.

    A graph overwrites its earlier outputs, gradients too, so a batch must be one pass. DDP has buffers of its own, and
    no other thread may allocate while a graph is recorded.

    Args:
        machine: the resolved compute settings.
        stage: the config.
        size: px of the square that the stage trains on.
        on_device: whether batches are cut from tensors in the device's memory.
    """
    is_small = stage.batch_size * size**2 <= SMALL_BATCH_PIXELS
    is_whole = machine.micro_batch is None or machine.micro_batch > stage.batch_size  # a last image joins a batch
    is_alone = machine.device.type == "cuda" and machine.devices == 1 and on_device
    return "reduce-overhead" if is_alone and is_small and is_whole else "default"


def compiled(network: nn.Module, how: Mode | None) -> nn.Module:
    """Return the network compiled by torch, sharing its tensors; the network itself if `how` is None.

    Earlier kernels are dropped and each batch size gets its own. By default kernels depend on which sizes and networks
    came first, and a trial resumed after a kill would end with other bits.
    """
    if how is None:
        return network
    torch.compiler.reset()
    return cast("nn.Module", torch.compile(network, mode=how, dynamic=False))


def begin_pass(how: Mode | None) -> None:
    """Tell torch that outputs of the previous pass are no longer needed, so a CUDA graph may overwrite them."""
    if how == "reduce-overhead":
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
