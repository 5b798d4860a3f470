"""Checks a strategy on its real network, without memory or data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from transferlab.core.models import freezing
from transferlab.core.models.backbones import registry
from transferlab.core.models.backbones.model import Model
from transferlab.core.models.backbones.weights import plain
from transferlab.core.models.backbones.weights_file import WeightsError, is_file, locate
from transferlab.core.models.factory import view_of
from transferlab.core.strategies.strategy import Strategy
from transferlab.core.transforms.operations import RandomCrop, RandomResizedCrop, Squash
from transferlab.core.validation import FieldProblems, Problem

IMAGES, CLASSES = 2, 3


def check(strategy: Strategy) -> None:
    """Try a strategy without memory or data: its network, weights file, policies, and a pass at each input size.

    Raises:
        FieldProblems: with everything that does not fit.
    """
    if problems := list(dict.fromkeys(_problems(strategy))):
        raise FieldProblems(problems)


def _problems(strategy: Strategy) -> Iterator[Problem]:
    try:
        registry.check(strategy.model)
    except FieldProblems as error:
        yield from (replace(problem, field=f"model.{problem.field}") for problem in error.problems)
        return
    model, view = strategy.model, view_of(strategy.model, strategy.input, None)
    if view.resize < view.size:
        yield Problem("input.resize", view.resize, f"must be at least the network's input size, {view.size} px")
    yield from _small_crops(strategy, view.size)
    try:
        if problem := _unpooled(model, view.size):
            yield problem
            return
        head = registry.heads(model.name, view.size, model.pooled)
        skeleton = registry.skeleton(model.name, CLASSES, view.size, pooled=model.pooled)
    except registry.BUILD_ERRORS as error:
        yield from _missing_file(model)
        yield Problem("input.size", view.size, f"{model.name} refuses images of this size: {plain(error)}")
        return
    yield from _misfit(strategy, skeleton, head, view.size)
    if model.drop_path is not None:
        yield from _no_branches(model, view.size)
    if not head:
        yield Problem("model.name", model.name, "has no classifier that could be trained for other classes")
        return
    yield from _policies(strategy, skeleton, head)
    sizes = {"input.size": view.size, **{f"stages.{n}.size": s.size for n, s in strategy.stages.items() if s.size}}
    for field, size in sizes.items():
        yield from _failed_pass(model.name, skeleton, field, size)


def _small_crops(strategy: Strategy, size: int) -> Iterator[Problem]:
    """Yield crops that are smaller than what the network sees, around which there would be black."""
    for stage, config in strategy.stages.items():
        seen, crop, padding = config.size or size, None, 0
        for number, operation in enumerate(config.augmentation):
            if isinstance(operation, (RandomResizedCrop, Squash)):
                crop, padding = (number, getattr(operation, "size", None)), 0
            elif isinstance(operation, RandomCrop):
                padding += operation.padding
        if crop and crop[1] and crop[1] + 2 * padding < seen:
            field = f"stages.{stage}.augmentation.{crop[0]}.size"
            advice = f"must be at least {seen}, the px that the network sees, or null for just that"
            yield Problem(field, crop[1], advice)


def _unpooled(model: Model, size: int) -> Problem | None:
    """Return the problem of a network whose last stages cannot be found or pooled.

    Raises:
        BUILD_ERRORS: the network itself cannot be built.
    """
    if model.pooled is None:
        return None
    registry.skeleton(model.name, CLASSES, size)  # what it raises is of another kind
    try:
        registry.taps(model.name, size, model.pooled.stages)
    except ValueError as error:
        return Problem("model.pooled.stages", model.pooled.stages, f"{model.name} {plain(error)}")
    return None


def _no_branches(model: Model, size: int) -> Iterator[Problem]:
    """Yield the problem of a network that has no residual branches to leave out, or no way to say so."""
    problem = Problem(
        "model.drop_path", model.drop_path, f"{model.name} has no residual branches to leave out; use null"
    )
    try:
        modules = registry.skeleton(model.name, CLASSES, size, model.drop_path).modules()
    except registry.BUILD_ERRORS:
        yield problem
        return
    if model.drop_path and not any(type(module).__name__ in registry.DROP_PATHS for module in modules):
        yield problem


def _missing_file(model: Model) -> Iterator[Problem]:
    """Yield the problem of a weights file that is not there, where no network can be built to fit it to."""
    if model.weights is not None and is_file(model.weights):
        try:
            locate(model.weights)
        except WeightsError as error:
            yield _of_weights(model, error)


def _misfit(strategy: Strategy, skeleton: nn.Module, head: Sequence[str], size: int) -> Iterator[Problem]:
    """Yield the problem of a weights file that is not there, cannot be read or does not fit; named weights may load."""
    model = strategy.model
    if is_file(model.weights):
        wanted = registry.classifier if strategy.head == "classifier" else registry.pretrained
        try:
            wanted(model, skeleton, head, size)
        except WeightsError as error:
            yield _of_weights(model, error)
    elif model.weights is not None and size != registry.preset(model).size:
        yield from _not_resampled(model, skeleton, head, size)


def _not_resampled(model: Model, skeleton: nn.Module, head: Sequence[str], size: int) -> Iterator[Problem]:
    """Yield the problem of named weights that are for another size alone; nothing is fetched."""
    if not registry.can_be_resized(model, skeleton, head):
        own = registry.preset(model).size
        advice = f"the weights {model.weights} are for {own} px, and {model.name} cannot resample them: set it to {own}"
        yield Problem("input.size", size, advice)


def _of_weights(model: Model, error: WeightsError) -> Problem:
    return Problem("model.weights", model.weights, str(error).removeprefix("model.weights: "))


def _policies(strategy: Strategy, skeleton: nn.Module, head: Sequence[str]) -> Iterator[Problem]:
    for stage, config in strategy.stages.items():
        try:
            freezing.scales(config.trainable, skeleton, head)
        except freezing.PolicyError as error:
            yield Problem(f"stages.{stage}.trainable", config.trainable, str(error))


def _failed_pass(name: str, skeleton: nn.Module, field: str, size: int) -> Iterator[Problem]:
    """Yield the problem of a network that refuses images of a size, or makes something else than logits of them."""
    try:
        output = skeleton(torch.empty(IMAGES, 3, size, size, device="meta"))
    except registry.BUILD_ERRORS as error:
        yield Problem(field, size, f"{name} refuses images of this size: {plain(error)}")
        return
    if not isinstance(output, Tensor) or output.shape != (IMAGES, CLASSES):
        found = f"an output of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        wanted = f"logits of shape {(IMAGES, CLASSES)}"
        yield Problem("model.name", name, f"is no classifier: it makes {found} of {IMAGES} images, not {wanted}")
