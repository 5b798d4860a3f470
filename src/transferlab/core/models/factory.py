"""From a strategy to a network: its initial checkpoint, its summary table, and a network from any checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from transferlab.core.models.backbones import registry
from transferlab.core.models.backbones.registry import Model
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.runtime.device import Machine
from transferlab.core.runtime.seeding import global_seed
from transferlab.core.transforms.view import Input, View, resolve


def view_of(model: Model, config: Input, statistics: dict[str, Any] | None) -> View:
    """How a network sees images; `statistics` are the training split's `mean` and `std`."""
    return resolve(config, registry.preset(model), statistics)


def initial(model: Model, config: Input, classes: list[str], statistics: dict[str, Any], seed: int) -> Checkpoint:
    """The network before any training: pretrained tensors, and the rest initialised from the seed.

    The header's `pretrained` names the tensors that all trials share; each trial draws the others from its own seed.

    Raises:
        WeightsError: the weights cannot be had or do not fit.
    """
    view = view_of(model, config, statistics)
    head = registry.heads(model, view.size)
    with global_seed(torch.device("cpu"), seed, "initialise"):
        network = registry.build(model, len(classes), view.size)
        _begin_head(network, head)
    shared = registry.pretrained(model, network, head)
    header = {
        "model": registry.describe(model),
        "classes": classes,
        "view": asdict(view),
        "head": list(head),
        "pretrained": sorted(shared),
    }
    return Checkpoint({**network.state_dict(), **shared}, header)


def fresh(checkpoint: Checkpoint, seed: int, machine: Machine) -> nn.Module:
    """A trial's network: the shared pretrained tensors, everything else drawn anew from the trial's seed."""
    with global_seed(torch.device("cpu"), seed, "initialise"):
        network = build(checkpoint)
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
    network = build(checkpoint)
    network.load_state_dict(checkpoint.tensors)
    return network.to(machine.device).to(memory_format=machine.memory_format)


def view_in(checkpoint: Checkpoint) -> View:
    """The view that a checkpoint's header holds."""
    stored = checkpoint.header["view"]
    return View(**{**stored, "mean": tuple(stored["mean"]), "std": tuple(stored["std"])})


def build(checkpoint: Checkpoint) -> nn.Module:
    """Build the network that a checkpoint describes, randomly initialised."""
    model = registry.Model(**checkpoint.header["model"])
    return registry.build(model, len(checkpoint.header["classes"]), checkpoint.header["view"]["size"])
