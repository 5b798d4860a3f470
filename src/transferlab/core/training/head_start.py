"""Begins the head of a trial with what the pretrained classifier knows of the classes.

Shapes: B images of a batch, N of the training split, C classes of the pretrained classifier, K classes of the trial,
F... a head's parameter of one class.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from transferlab.core.loading import features
from transferlab.core.loading.feature_cache import FeatureCache
from transferlab.core.loading.images import Images
from transferlab.core.models import factory, freezing
from transferlab.core.runtime.device import Machine
from transferlab.core.training import distributed
from transferlab.core.training.spec import TrialSpec


def fresh(spec: TrialSpec, machine: Machine, folder: Path, drop_path: float | None = None) -> nn.Module:
    """Build a trial's network, and begin its head as its strategy says.

    Args:
        spec: of the trial.
        machine: where the network will be.
        folder: caches the features that a head of the pretrained classifier needs.
        drop_path: see `Model`.

    Raises:
        CheckpointError: the initial checkpoint does not fit the network that it names.
    """
    network = factory.fresh(spec.initial, spec.initial_seed, machine, drop_path)
    if spec.strategy.head == "classifier":
        with distributed.zero_first():  # rank 0 computes features, the others read them
            _begin_with_classifier(network, spec, machine, folder)
    return network


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
    freezing.apply(network, "head", spec.initial.header.head)
    images = Images(spec.train, spec.initial.header.view, machine)
    found = features.on_features(network, [images], spec.strategy.model, FeatureCache(folder, spec.keeping))
    running: nn.Module = found.tail.in_evaluation if found else network
    used = machine.for_network(running.eval())
    done = []
    for x_B in (found.sources[0] if found else images).in_order():
        with torch.inference_mode(), used.autocast():
            done.append(functional_call(running, classifier, (x_B,)).float().cpu())
    return torch.cat(done)
