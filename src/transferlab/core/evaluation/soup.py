"""The greedy soup of a strategy's trials: one network whose weights are the mean of some trials' weights.

Wortsman et al. 2022, "Model soups" (ICML, arXiv:2203.05482), recipe 1: trials are taken in the order of their accuracy
on held-out images, and one stays in the soup if the soup is no worse with it there. BatchNorm statistics of averaged
weights are not the average of statistics: they are estimated anew on training images (Izmailov et al. 2018, "Averaging
Weights Leads to Wider Optima and Better Generalization").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from transferlab.core.evaluation.held_out import MOST_TRAINING, part, spread
from transferlab.core.evaluation.predictions import predict_split
from transferlab.core.evaluation.tested import Evaluation, Tested
from transferlab.core.loading.images import Images, Split
from transferlab.core.models import factory
from transferlab.core.models.checkpoint import Checkpoint, on_cpu
from transferlab.core.runtime.device import Machine


def can_be_cooked(trials: Sequence[Tested], how: Evaluation) -> bool:
    """Return whether trials share their start and their validation images, by which a soup is chosen."""
    shared = {one.reference.images if one.reference else None for one in trials}
    begins_alike = how.strategy.begins_alike and bool(how.strategy.stages)
    return begins_alike and len(trials) > 1 and len(shared) == 1 and None not in shared


def cook(
    checkpoints: Mapping[int, Checkpoint], trials: Sequence[Tested], how: Evaluation
) -> tuple[Checkpoint, tuple[int, ...]]:
    """Return the greedy soup, and the numbers of the trials that are in it; chosen on validation images alone."""
    first = trials[0].trial
    train = how.split(checkpoints[first], "train", first)
    train = part(train, spread(train.labels, MOST_TRAINING))
    validation = how.split(checkpoints[first], "validation", first)

    def soup_of(numbers: Sequence[int]) -> Checkpoint:
        return averaged([checkpoints[number] for number in numbers], train, how.machine)

    def accuracy_of(soup: Checkpoint) -> float:
        p_NK, _ = predict_split(soup, how.strategy, validation, how.machine, how.feature_cache)
        return float((p_NK.argmax(axis=1) == validation.labels).mean())

    ordered = sorted(trials, key=lambda one: (-_validation_accuracy(one), one.trial))
    return _greedy([one.trial for one in ordered], _validation_accuracy(ordered[0]), soup_of, accuracy_of)


def _greedy(
    ordered: Sequence[int],
    best: float,
    soup_of: Callable[[Sequence[int]], Checkpoint],
    accuracy_of: Callable[[Checkpoint], float],
) -> tuple[Checkpoint, tuple[int, ...]]:
    """Add trials, the best first, while the soup does not get worse; `best` is the accuracy of the first alone."""
    chosen, kept = ordered[:1], soup_of(ordered[:1])
    for number in ordered[1:]:
        candidate = soup_of([*chosen, number])
        accuracy = accuracy_of(candidate)
        if accuracy >= best:
            chosen, kept, best = [*chosen, number], candidate, accuracy
    return kept, tuple(chosen)


def _validation_accuracy(one: Tested) -> float:
    if one.reference is None:
        raise ValueError("a soup is chosen on validation images")
    return float((one.reference.p_NK.argmax(axis=1) == one.reference.truth_N).mean())


def averaged(checkpoints: Sequence[Checkpoint], train: Split, machine: Machine) -> Checkpoint:
    """Average the weights of trials, and estimate anew the BatchNorm statistics in which they differ.

    Args:
        checkpoints: of trials that began alike; one alone comes back as it is.
        train: training images to estimate on, as they are seen in evaluation.
        machine: where to compute.
    """
    first = checkpoints[0]
    if len(checkpoints) == 1:
        return first
    every = {name: [one.tensors[name] for one in checkpoints] for name in first.tensors}
    soup = replace(first, tensors={name: _mean(tensors) for name, tensors in every.items()}, path=None)
    moved = {name for name, tensors in every.items() if not all(torch.equal(tensors[0], other) for other in tensors)}
    network = factory.load(soup, machine)
    norms = [
        module
        for name, module in network.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and f"{name}.running_mean" in moved
    ]
    if not norms:
        return soup
    _estimate(network, norms, Images(train, first.header.view, machine))
    return replace(soup, tensors=on_cpu(network))


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    """Return the mean, which is exact where all are equal; of counts the first."""
    first = tensors[0]
    if not first.is_floating_point() or all(torch.equal(first, other) for other in tensors):
        return first
    return torch.stack([tensor.double() for tensor in tensors]).mean(dim=0).to(first.dtype)


def _estimate(network: nn.Module, norms: Sequence[nn.modules.batchnorm._BatchNorm], images: Images) -> None:
    """Set running statistics to their mean over all batches of some images."""
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
        norm.train()
    with torch.inference_mode():
        for x_B3SS in images.in_order():
            if len(x_B3SS) > 1 or len(images.split) == 1:  # one image has no variance
                network(x_B3SS)
    network.eval()
