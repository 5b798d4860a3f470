"""Checks a strategy on its real network, without memory or data."""

from __future__ import annotations

import torch

from transferlab.core.models import freezing
from transferlab.core.models.backbones import registry, weights
from transferlab.core.models.factory import view_of
from transferlab.core.strategies.strategy import Strategy
from transferlab.core.validation import FieldProblems, Problem

# What networks raise for an input size that they cannot take, when they are made or run.
_REFUSALS = (RuntimeError, AssertionError, ValueError)


def check(strategy: Strategy) -> None:
    """Try a strategy without memory or data: its network, its policies on it, and a forward pass at its input size.

    Raises:
        FieldProblems: with every policy that does not fit, or an input size that the network refuses.
    """
    view = view_of(strategy.model, strategy.input, None)
    found = []
    if weights.is_file(strategy.model.weights):
        try:
            weights.locate(strategy.model.weights or "")
        except weights.WeightsError as error:
            found.append(Problem("model.weights", strategy.model.weights, str(error).removeprefix("model.weights: ")))
    if view.resize < view.size:
        found.append(Problem("input.resize", view.resize, f"must be at least the network's input size, {view.size} px"))
    refuses = f"{strategy.model.name} refuses images of this size"
    try:
        head = registry.heads(strategy.model.name, view.size)
        skeleton = registry.skeleton(strategy.model.name, 2, view.size).eval()
    except _REFUSALS as error:
        raise FieldProblems([*found, Problem("input.size", view.size, f"{refuses}: {error}")]) from error
    names = list(dict(skeleton.named_parameters()))
    for stage, config in strategy.stages.items():
        try:
            freezing.scales(config.trainable, names, head)
        except freezing.PolicyError as error:
            found.append(Problem(f"stages.{stage}.trainable", config.trainable, str(error)))
    sizes = {"input.size": view.size, **{f"stages.{n}.size": s.size for n, s in strategy.stages.items() if s.size}}
    for field, size in sizes.items():
        try:
            skeleton(torch.empty(2, 3, size, size, device="meta"))
        except _REFUSALS as error:
            found.append(Problem(field, size, f"{refuses}: {error}"))
    if found:
        raise FieldProblems(found)
