"""Optimizers and gradient clipping, as typed config."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from transferlab.core.validation import check


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent.

    Attributes:
        lr: peak learning rate.
        momentum: of the moving sum of gradients.
        nesterov: look-ahead momentum.
        weight_decay: L2 penalty added to the gradient.
    """

    name: Literal["sgd"] = "sgd"
    lr: float
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check(*_common(self), (not self.nesterov or self.momentum > 0, "nesterov", True, "needs momentum above 0"))

    def build(self, groups: list[dict[str, Any]], fused: bool) -> torch.optim.Optimizer:
        """The torch optimizer over parameter groups."""
        return torch.optim.SGD(
            groups,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            fused=fused,
        )


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam (Kingma & Ba 2015); `adamw` decouples the weight decay (Loshchilov & Hutter 2019).

    Attributes:
        lr: peak learning rate.
        momentum: decay of the first moment, beta 1.
        beta2: decay of the second moment.
        weight_decay: L2 penalty (`adam`) or decoupled decay (`adamw`).
    """

    name: Literal["adam", "adamw"]
    lr: float
    momentum: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check(*_common(self), (0 <= self.beta2 < 1, "beta2", self.beta2, "must be in [0, 1)"))

    def build(self, groups: list[dict[str, Any]], fused: bool) -> torch.optim.Optimizer:
        """The torch optimizer over parameter groups."""
        kind = torch.optim.Adam if self.name == "adam" else torch.optim.AdamW
        return kind(groups, lr=self.lr, betas=(self.momentum, self.beta2), weight_decay=self.weight_decay, fused=fused)


Optimizer = SGD | Adam


def _common(config: SGD | Adam) -> list[tuple[bool, str, Any, str]]:
    return [
        (0 < config.lr < float("inf"), "lr", config.lr, "must be positive"),
        (0 <= config.momentum < 1, "momentum", config.momentum, "must be in [0, 1)"),
        (config.weight_decay >= 0, "weight_decay", config.weight_decay, "must be at least 0"),
    ]


def build(
    config: Optimizer, parameters: Mapping[str, nn.Parameter], scales: Mapping[str, float], fused: bool = True
) -> torch.optim.Optimizer:
    """The optimizer of a stage: exactly the parameters it trains (those of `scales`), a group per learning-rate scale.

    Each group keeps its `scale`; `set_rate` multiplies by it.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, scale in scales.items():
        groups.setdefault(scale, []).append(parameters[name])
    rows = [{"params": members, "scale": scale, "lr": config.lr * scale} for scale, members in groups.items()]
    return config.build(rows, fused)


def carry_over(before: torch.optim.Optimizer, after: torch.optim.Optimizer) -> None:
    """Give `after` the state (moments, step counts) that `before` gathered for the parameters that both have."""
    for group in after.param_groups:
        for parameter in group["params"]:
            if parameter in before.state:
                after.state[parameter] = before.state[parameter]
            elif group.get("momentum"):  # torch's fused SGD takes a buffer for all parameters of a group or for none
                after.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def set_rate(optimizer: torch.optim.Optimizer, rate: float, momentum: float | None) -> None:
    """Set the learning rate (times each group's scale) and, where the schedule cycles it, the momentum."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
        if momentum is not None:
            group.update({"betas": (momentum, group["betas"][1])} if "betas" in group else {"momentum": momentum})


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Gradient clipping, before each step.

    Attributes:
        by: `norm` scales the whole gradient down to length `at`; `value` clamps each component to [-at, at].
        at: the limit.
    """

    by: Literal["norm", "value"]
    at: float

    def __post_init__(self) -> None:
        check((self.at > 0, "at", self.at, "must be positive"))

    def apply(self, parameters: Iterable[nn.Parameter]) -> None:
        """Clip the gradients in place."""
        if self.by == "norm":
            nn.utils.clip_grad_norm_(parameters, self.at)
        else:
            nn.utils.clip_grad_value_(parameters, self.at)
