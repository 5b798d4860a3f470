"""Begins a trial with what its training images say before any training.

A head can begin with what the pretrained classifier knows of the classes, and pooled features are standardized.

Shapes: B images of a batch, N of the training split, C classes of the pretrained classifier, K classes of the trial,
F... a head's parameter of one class, or features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from transferlab.core.loading import features
from transferlab.core.loading.feature_cache import FeatureCache
from transferlab.core.loading.images import Images
from transferlab.core.models import factory, freezing
from transferlab.core.models.backbones.pooled import OnStages
from transferlab.core.runtime.device import Machine
from transferlab.core.training import distributed
from transferlab.core.training.spec import TrialSpec


def fresh(spec: TrialSpec, machine: Machine, folder: Path) -> nn.Module:
    """Build a trial's network, begun as its strategy says.

    Args:
        spec: of the trial.
        machine: where the network will be.
        folder: caches the features that the beginning needs.

    Raises:
        CheckpointError: the initial checkpoint does not fit the network that it names.
    """
    network = factory.fresh(spec.initial, spec.initial_seed, machine)
    begin(network, spec, machine, folder)
    return network


def begin(network: nn.Module, spec: TrialSpec, machine: Machine, folder: Path) -> None:
    """Begin a trial's network, as `factory.fresh` has drawn it, as its strategy says; the arguments are of `fresh`."""
    with distributed.zero_first():  # rank 0 computes features, the others read them
        if isinstance(network, OnStages):
            _standardize(network, spec, machine, folder)
        if spec.strategy.head == "classifier":
            _begin_with_classifier(network, spec, machine, folder)


def _standardize(network: OnStages, spec: TrialSpec, machine: Machine, folder: Path) -> None:
    """Let each pooled feature of the training images, as they are seen in evaluation, have mean 0 and deviation 1."""
    images, found = _at_head(network, spec, machine, folder)
    if found:
        network.standardized.fit(found.sources[0].in_order())
    else:
        network.standardized.fit(_outputs(network.pooled, images, machine))


def _begin_with_classifier(network: nn.Module, spec: TrialSpec, machine: Machine, folder: Path) -> None:
    """Make each class's row the mean of the pretrained rows, as probable as they are for its training images.

    If the pretrained classifier finds a class's photographs to be ants with probability 0.9 on average, 0.9 of its row
    is the row for ants. LEEP (Nguyen et al. 2020, arXiv 2002.12462) measures how well these probabilities alone tell
    the new classes apart; here they are where training begins.
    """
    classifier = {name: tensor.to(machine.device) for name, tensor in spec.initial.classifier.items()}
    p_NC = _logits(network, classifier, spec, machine, folder).softmax(dim=1)
    labels_NK = functional.one_hot(torch.from_numpy(spec.train.labels), len(spec.initial.header.classes)).float()
    rows_KC = (labels_NK.T @ p_NC / labels_NK.sum(dim=0).clamp(min=1)[:, None]).to(machine.device)
    with torch.no_grad():
        for name, tensor_CF in classifier.items():
            network.get_parameter(name).copy_(torch.tensordot(rows_KC, tensor_CF, dims=1))


def _logits(
    network: nn.Module, classifier: dict[str, Tensor], spec: TrialSpec, machine: Machine, folder: Path
) -> Tensor:
    """Return the pretrained classifier's logits (N, C) of the training images, float32, on the CPU."""
    images, found = _at_head(network, spec, machine, folder)
    running: nn.Module = found.tail.in_evaluation if found else network
    inputs = found.sources[0] if found else images
    return torch.cat(list(_outputs(running, inputs, machine, classifier)))


def _at_head(
    network: nn.Module, spec: TrialSpec, machine: Machine, folder: Path
) -> tuple[Images, features.OnFeatures | None]:
    """Return the training images as they are seen in evaluation, and their features, if the network can be cut."""
    freezing.apply(network, "head", spec.initial.header.head)
    images = Images(spec.train, spec.initial.header.view, machine)
    cache = FeatureCache(folder, spec.keeping)
    return images, features.on_features(network, [images], spec.strategy.model, cache)


def _outputs(
    running: nn.Module, inputs: features.StageInput, machine: Machine, replaced: Mapping[str, Tensor] | None = None
) -> Iterator[Tensor]:
    """Yield what a network makes of its inputs in order, float32, on the CPU, with some parameters replaced."""
    used = machine.for_network(running.eval())
    for x_B in inputs.in_order():
        with torch.inference_mode(), used.autocast():
            yield functional_call(running, dict(replaced or {}), (x_B,)).float().cpu()
