"""Networks and checkpoints: the initial checkpoint of a model, and the network of any checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from transferlab.core.data.decoding.levels import Levels
from transferlab.core.models.backbones import registry
from transferlab.core.models.backbones.model import Model, described
from transferlab.core.models.backbones.weights import plain
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.models.checkpoint_header import CheckpointHeader
from transferlab.core.runtime.device import Machine
from transferlab.core.runtime.seeding import global_seed
from transferlab.core.transforms.input import Input
from transferlab.core.transforms.view import View, resolve


def view_of(model: Model, config: Input, statistics: dict[str, Any] | None) -> View:
    """Return how a network sees images; `statistics` are the `mean` and `std` of the training split."""
    return resolve(config, registry.preset(model), statistics)


def initial(
    model: Model,
    config: Input,
    classes: Sequence[str],
    statistics: dict[str, Any],
    seed: int,
    keep_classifier: bool = False,
) -> Checkpoint:
    """Make the network before any training: pretrained tensors, and the rest initialised from the seed.

    The header's `pretrained` names the tensors that all trials share; each trial draws the others from its own seed.

    Args:
        model: name and weights.
        config: of the input.
        classes: their names.
        statistics: `mean` and `std` of the training pixels, and the `levels` of grey of more than 8 bits, if any.
        seed: of the initialisation.
        keep_classifier: also keep the pretrained head, for trials whose head begins with it.

    Raises:
        WeightsError: the weights cannot be had or do not fit.
    """
    view = view_of(model, config, statistics)
    head = registry.heads(model.name, view.size, model.pooled)
    with global_seed(torch.device("cpu"), seed, "initialise"):
        network = registry.build(model.name, len(classes), view.size, pooled=model.pooled)
        _draw_linear_heads(network, head)
    shared = registry.pretrained(model, network, head, view.size)
    header = CheckpointHeader(
        model=model.name,
        weights=model.weights,
        classes=tuple(classes),
        view=view,
        head=head,
        pretrained=tuple(sorted(shared)),
        levels=Levels.from_json(levels) if (levels := statistics.get("levels")) else None,
        pooled=model.pooled,
    )
    classifier = registry.classifier(model, network, head, view.size) if keep_classifier else {}
    return Checkpoint({**network.state_dict(), **shared}, header, classifier=classifier)


def fresh(checkpoint: Checkpoint, seed: int, machine: Machine, drop_path: float | None = None) -> nn.Module:
    """Build a trial's network: the shared pretrained tensors, and everything else drawn anew from the trial's seed.

    Args:
        checkpoint: of the network before training.
        seed: of the trial.
        machine: where the network will be.
        drop_path: see `Model`; it has no tensors, and no checkpoint needs it.

    Raises:
        CheckpointError: the checkpoint does not fit the network that it names.
    """
    shared = {name: checkpoint.tensors[name] for name in checkpoint.header.pretrained}
    with global_seed(torch.device("cpu"), seed, "initialise"):
        network = build(checkpoint, drop_path)
        _draw_linear_heads(network, checkpoint.header.head)
    network.load_state_dict(shared, strict=False)
    return network.to(machine.device).to(memory_format=machine.memory_format)


def _draw_linear_heads(network: nn.Module, head: Sequence[str]) -> None:
    """Draw the linear layers of the head as torch does by default: with 1 / sqrt(features).

    Some of timm's (EfficientNet's) are drawn with 1 / sqrt(classes), which suits 1000 classes. With two, the first
    logits are so large that a published rate of 1e-4 cannot undo them: frozen EfficientNet-Lite0 on hymenoptera gets
    0.83 instead of 0.95.
    """
    for name in head:
        module = network.get_submodule(name)
        if isinstance(module, nn.Linear):
            module.reset_parameters()


def load(checkpoint: Checkpoint, machine: Machine) -> nn.Module:
    """Build the network with exactly the checkpoint's weights, in evaluation mode.

    Raises:
        CheckpointError: the weights do not fit the network that the header names.
    """
    network = build(checkpoint)
    network.load_state_dict(checkpoint.tensors)
    return network.to(machine.device).to(memory_format=machine.memory_format).eval()


def build(checkpoint: Checkpoint, drop_path: float | None = None) -> nn.Module:
    """Build the network that a checkpoint describes, randomly initialised.

    Raises:
        CheckpointError: there is no such network, or the tensors are not those of this network.
    """
    header = checkpoint.header
    try:
        network = registry.build(header.model, len(header.classes), header.view.size, drop_path, header.pooled)
    except registry.BUILD_ERRORS as error:
        raise checkpoint.unusable(f"no network '{header.model}' can be built ({plain(error)})") from error
    if reason := _misfit(checkpoint, network.state_dict()):
        raise checkpoint.unusable(reason)
    return network


def _misfit(checkpoint: Checkpoint, wanted: Mapping[str, Tensor]) -> str:
    """Say how a checkpoint differs from the network that its header names; empty when it fits."""
    header, found = checkpoint.header, checkpoint.tensors
    name = described(header.model, header.pooled)
    what = f"a {name} for {len(header.classes)} classes at {header.view.size} px"
    if missing := sorted(wanted.keys() - found.keys()):
        return f"it is not {what}: it lacks {', '.join(missing[:3])} ({len(missing)} of {len(wanted)} tensors)"
    if unknown := sorted(found.keys() - wanted.keys()):
        return f"it is not {what}: that has no {', '.join(unknown[:3])}"
    for name, tensor in wanted.items():
        if tensor.shape != found[name].shape:
            return f"it is not {what}: '{name}' has shape {tuple(found[name].shape)}, not {tuple(tensor.shape)}"
    if not header.head:
        return "its header names no head"
    if strangers := sorted({*header.pretrained} - wanted.keys()):
        return f"its header names tensors that it has not: {', '.join(strangers[:3])}"
    modules = {name.rpartition(".")[0] for name in wanted}
    if strangers := sorted({*header.head} - modules):
        return f"its header names a head that it has not: {', '.join(strangers[:3])}"
    return ""
