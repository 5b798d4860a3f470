"""Trains the heads of several trials in the same steps, if their heads are all that differs between them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from transferlab.core.loading.features import Features
from transferlab.core.models import freezing
from transferlab.core.models.backbones import registry
from transferlab.core.models.prefix import Tail
from transferlab.core.runtime.device import apply, resolve
from transferlab.core.runtime.progress import ProgressCallback
from transferlab.core.strategies.schedules import Plateau
from transferlab.core.training import head_start
from transferlab.core.training.cost import memory_advice
from transferlab.core.training.engine import DivergedError
from transferlab.core.training.learners import StackedHeads
from transferlab.core.training.spec import TrialResult, TrialSpec
from transferlab.core.training.stage_inputs import Inputs
from transferlab.core.training.stages import Training
from transferlab.core.training.trial import state_file


def could_train(specs: Sequence[TrialSpec]) -> bool:
    """Check whether the config lets trials train together: one stage of heads on shared views, on one device.

    A plateau schedule, patience and clipping by norm follow a single trial.

    Raises:
        PolicyError: the stage's policy does not fit the network.
    """
    stages = list(specs[0].strategy.stages.values())
    on_one_device = specs[0].compute.devices == 1
    if len(specs) == 1 or len(stages) != 1 or stages[0].distinct_views is None or not on_one_device:
        return False
    if not all(np.array_equal(spec.train.rows, specs[0].train.rows) for spec in specs):  # trials on re-splits
        return False
    clips = stages[0].clip is not None and stages[0].clip.by == "norm"
    if clips or isinstance(stages[0].schedule, Plateau) or stages[0].patience is not None:
        return False
    header = specs[0].initial.header
    return freezing.trains_head_alone(
        stages[0].trainable, registry.parameter_names(header.model, header.view.size, header.pooled), header.head
    )


def train(
    specs: Sequence[TrialSpec], folder: Path, report: ProgressCallback, states: Path | None
) -> dict[int, TrialResult | DivergedError] | None:
    """Train trials together; return their outcomes by number.

    Returns None, and trains nothing, if more differs between the trials than linear heads on features that all share.
    `could_train` must have agreed.

    Raises:
        OSError: a file cannot be written, such as for lack of space.
        StateError: `states` holds a state that is damaged or of other trials.
    """
    first = specs[0]
    ((name, stage),) = first.strategy.stages.items()
    machine = apply(resolve(first.compute))
    if machine.dtype == torch.float16:
        return None  # a scaled loss has one scale for all
    network = head_start.fresh(first, machine, folder)
    freezing.apply(network, stage.trainable, first.initial.header.head)
    inputs = Inputs(first, first.initial.header.view, machine, folder, report)
    with memory_advice(first, name, stage, machine):
        found = inputs.of(network, name, stage, 0)
    if not isinstance(found.train, Features) or not isinstance(found.running, Tail) or not found.running.is_linear:
        return None
    own = [name for name, _ in found.running.in_training.named_parameters()]
    heads = [_take(network, own)]
    for spec in specs[1:]:
        other = head_start.fresh(spec, machine, folder)
        if not _is_same_but(own, other, network):
            return None
        heads.append(_take(other, own))
    file = state_file(states, specs, machine, network) if states else None
    outcomes = Training(specs, machine, StackedHeads(network, heads), inputs, report, file).run()
    return {spec.trial: outcome for spec, outcome in zip(specs, outcomes, strict=True)}


def _take(network: nn.Module, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return these parameters without the network that holds them."""
    parameters = dict(network.named_parameters())
    return {name: parameters[name].detach() for name in names}


def _is_same_but(names: Sequence[str], one: nn.Module, other: nn.Module) -> bool:
    """Check that two networks hold the same numbers in all tensors but those named."""
    others = other.state_dict()
    return all(torch.equal(tensor, others[name]) for name, tensor in one.state_dict().items() if name not in names)
