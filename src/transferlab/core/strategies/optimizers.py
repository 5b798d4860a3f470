"""Optimizers and gradient clipping, as typed config, which must not wait for torch: the functions import it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from transferlab.core.validation import check

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent.

    Attributes:
        lr: peak learning rate.
        momentum: decay of the moving sum of gradients.
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
        """Build the torch optimizer over parameter groups."""
        from torch import optim

        return optim.SGD(
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
        """Build the torch optimizer over parameter groups."""
        from torch import optim

        kind = optim.Adam if self.name == "adam" else optim.AdamW
        return kind(groups, lr=self.lr, betas=(self.momentum, self.beta2), weight_decay=self.weight_decay, fused=fused)


Optimizer = SGD | Adam
LARGEST_RATE = 1e38  # what float32, in which torch applies it, can hold


def _common(config: SGD | Adam) -> list[tuple[bool, str, Any, str]]:
    return [
        (0 < config.lr <= LARGEST_RATE, "lr", config.lr, f"must be above 0, and at most {LARGEST_RATE:g}"),
        (0 <= config.momentum < 1, "momentum", config.momentum, "must be in [0, 1)"),
        (0 <= config.weight_decay <= 1e6, "weight_decay", config.weight_decay, "must be from 0 to 1e6"),
    ]


def build(
    config: Optimizer, parameters: Mapping[str, nn.Parameter], scales: Mapping[str, float], fused: bool = True
) -> torch.optim.Optimizer:
    """Build the optimizer of a stage over exactly the parameters that it trains: those of `scales`.

    There is one group per learning-rate scale. Each keeps its `scale`, by which `set_rate` multiplies.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, scale in scales.items():
        groups.setdefault(scale, []).append(parameters[name])
    rows = [{"params": members, "scale": scale, "lr": config.lr * scale} for scale, members in groups.items()]
    return config.build(rows, fused)


def carry_over(before: torch.optim.Optimizer, after: torch.optim.Optimizer) -> None:
    """Give `after` the state (moments, step counts) that `before` gathered for the parameters that both have."""
    from torch import zeros_like

    for group in after.param_groups:
        for parameter in group["params"]:
            if parameter in before.state:
                after.state[parameter] = before.state[parameter]
            elif group.get("momentum"):  # torch's fused SGD takes a buffer for all parameters of a group or for none
                after.state[parameter]["momentum_buffer"] = zeros_like(parameter)


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
        check((0 < self.at <= LARGEST_RATE, "at", self.at, f"must be above 0, and at most {LARGEST_RATE:g}"))

    def apply(self, parameters: Iterable[nn.Parameter]) -> None:
        """Clip the gradients in place."""
        from torch.nn import utils

        if self.by == "norm":
            utils.clip_grad_norm_(parameters, self.at)
        else:
            utils.clip_grad_value_(parameters, self.at)
