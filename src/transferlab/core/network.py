"""From a strategy to a network: its initial checkpoint, its summary table, and a network from any checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from transferlab.core import backbones, policy, views
from transferlab.core.backbones import files
from transferlab.core.checkpoint import Checkpoint
from transferlab.core.device import Machine
from transferlab.core.problems import FieldProblems, Problem
from transferlab.core.seeding import global_seed
from transferlab.core.strategy import Strategy
from transferlab.core.views import View

# What networks raise for an input size that they cannot take, when they are made or run.
_REFUSALS = (RuntimeError, AssertionError, ValueError)


def view_of(strategy: Strategy, statistics: dict[str, Any] | None) -> View:
    """How the strategy's network sees images; `statistics` are the training split's `mean` and `std`."""
    return views.settle(strategy.input, backbones.preset(strategy.model), statistics)


def initial(strategy: Strategy, classes: list[str], statistics: dict[str, Any], seed: int) -> Checkpoint:
    """The network before any training: pretrained tensors, and the rest initialised from the seed.

    The header's `pretrained` names the tensors that all trials share; each trial draws the others from its own seed.

    Raises:
        WeightsError: the weights cannot be had or do not fit.
    """
    view = view_of(strategy, statistics)
    head = backbones.heads(strategy.model, view.size)
    with global_seed(torch.device("cpu"), seed, "initialise"):
        network = backbones.build(strategy.model, len(classes), view.size)
        _begin_head(network, head)
    shared = backbones.pretrained(strategy.model, network, head)
    header = {
        "model": backbones.describe(strategy.model),
        "classes": classes,
        "view": asdict(view),
        "head": list(head),
        "pretrained": sorted(shared),
    }
    return Checkpoint({**network.state_dict(), **shared}, header)


def fresh(checkpoint: Checkpoint, seed: int, machine: Machine) -> nn.Module:
    """A trial's network: the shared pretrained tensors, everything else drawn anew from the trial's seed."""
    with global_seed(torch.device("cpu"), seed, "initialise"):
        network = _build(checkpoint)
        _begin_head(network, checkpoint.header["head"])
    shared = {name: checkpoint.tensors[name] for name in checkpoint.header["pretrained"]}
    network.load_state_dict(shared, strict=False)
    return network.to(machine.device).to(memory_format=machine.memory_format)


def _begin_head(network: nn.Module, head: Sequence[str]) -> None:
    """Draw linear heads as torch does by default: with 1 / sqrt(features).

    Some of timm's (EfficientNet's) are drawn with 1 / sqrt(classes), made for 1000 of them. With two, the first logits
    are so large that a published rate of 1e-4 cannot undo them: frozen EfficientNet-Lite0 on hymenoptera gets 0.83
    instead of 0.95.
    """
    for name in head:
        module = network.get_submodule(name)
        if isinstance(module, nn.Linear):
            module.reset_parameters()


def load(checkpoint: Checkpoint, machine: Machine) -> nn.Module:
    """The network with exactly the checkpoint's weights."""
    network = _build(checkpoint)
    network.load_state_dict(checkpoint.tensors)
    return network.to(machine.device).to(memory_format=machine.memory_format)


def view_in(checkpoint: Checkpoint) -> View:
    """The view that a checkpoint's header holds."""
    stored = checkpoint.header["view"]
    return View(**{**stored, "mean": tuple(stored["mean"]), "std": tuple(stored["std"])})


def _build(checkpoint: Checkpoint) -> nn.Module:
    model = backbones.Model(**checkpoint.header["model"])
    return backbones.build(model, len(checkpoint.header["classes"]), checkpoint.header["view"]["size"])


def check(strategy: Strategy) -> None:
    """Try a strategy without memory or data: its network, its policies on it, and a forward pass at its input size.

    Raises:
        FieldProblems: with every policy that does not fit, or an input size that the network refuses.
    """
    view = view_of(strategy, None)
    found = []
    if files.is_file(strategy.model.weights):
        try:
            files.locate(strategy.model.weights or "")
        except files.WeightsError as error:
            found.append(Problem("model.weights", strategy.model.weights, str(error).removeprefix("model.weights: ")))
    if view.resize < view.size:
        found.append(Problem("input.resize", view.resize, f"must be at least the network's input size, {view.size} px"))
    refuses = f"{strategy.model.name} refuses images of this size"
    try:
        head = backbones.heads(strategy.model, view.size)
        skeleton = backbones.skeleton(strategy.model, 2, view.size).eval()
    except _REFUSALS as error:
        raise FieldProblems([*found, Problem("input.size", view.size, f"{refuses}: {error}")]) from error
    names = list(dict(skeleton.named_parameters()))
    for stage, config in strategy.stages.items():
        try:
            policy.scales(config.trainable, names, head)
        except policy.PolicyError as error:
            found.append(Problem(f"stages.{stage}.trainable", config.trainable, str(error)))
    sizes = {"input.size": view.size, **{f"stages.{n}.size": s.size for n, s in strategy.stages.items() if s.size}}
    for field, size in sizes.items():
        try:
            skeleton(torch.empty(2, 3, size, size, device="meta"))
        except _REFUSALS as error:
            found.append(Problem(field, size, f"{refuses}: {error}"))
    if found:
        raise FieldProblems(found)


def summary(strategy: Strategy, checkpoint: Checkpoint) -> pd.DataFrame:
    """One row per layer that has parameters: layer, type, shape, parameters, and `trainable_<stage>` for each stage.

    Raises:
        PolicyError: a stage's policy does not fit the network.
    """
    network = _build(checkpoint)
    names = list(dict(network.named_parameters()))
    trained = {
        stage: policy.scales(config.trainable, names, checkpoint.header["head"])
        for stage, config in strategy.stages.items()
    }
    table = []
    for layer, module in network.named_modules():
        own = {f"{layer}.{key}" if layer else key: p for key, p in module.named_parameters(recurse=False)}
        if own:
            table.append(
                {
                    "layer": layer or "(root)",
                    "type": type(module).__name__,
                    "shape": "x".join(map(str, max(own.values(), key=Tensor.numel).shape)),
                    "parameters": sum(p.numel() for p in own.values()),
                    **{
                        f"trainable_{stage}": sum(p.numel() for name, p in own.items() if name in scales)
                        for stage, scales in trained.items()
                    },
                }
            )
    return pd.DataFrame(table)
