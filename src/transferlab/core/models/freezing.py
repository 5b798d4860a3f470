"""Which parameters a stage trains: rows `(pattern, learning-rate scale or null)` that cover them all; null freezes.

As in google-research/big_vision, the first row whose pattern matches a parameter's whole name decides, a pattern that
decides nothing is an error, and so is a parameter that no row covers. Rates that fall from layer to layer towards the
input can be laid over the rows (layer-wise decay, as in BEiT: Bao et al. 2022, arXiv 2106.08254).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import regex

from transferlab.core.errors import MendableError
from transferlab.core.files.typed_json import read_as
from transferlab.core.validation import check, did_you_mean

if TYPE_CHECKING:
    from torch import nn

Rows = tuple[tuple[str, float | None], ...]

SHORTHANDS = ("head", "all")
LARGEST_SCALE = 1e6
MATCH_SECONDS = 2.0  # a pattern that backtracks without end (`(a+)+b`) is an error, not a hang


class PolicyError(MendableError):
    """A policy that does not fit the network."""


@dataclass(frozen=True, kw_only=True)
class LayerDecay:
    """Trains each layer at `layer_decay` times the rate of the layer after it; the head has the full rate.

    Attributes:
        layer_decay: the factor; 0.75 is common.
        rows: what is trained, and at which scale before the decay; by default everything.
    """

    layer_decay: float
    rows: Rows = ((".*", 1.0),)

    def __post_init__(self) -> None:
        in_range = (0 < self.layer_decay <= 1, "layer_decay", self.layer_decay, "must be above 0 and at most 1")
        check(in_range, *row_rules(self.rows, "rows"))


Policy = str | Rows | LayerDecay


def from_json(value: Any) -> Policy:
    """Return the policy that a checkpoint's recipe holds.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return read_as(LayerDecay, value)
    return read_as(LayerDecay, {"layer_decay": 1.0, "rows": value}).rows


def rows(policy: Policy, head: Sequence[str]) -> Rows:
    """Spell out the shorthands `head` and `all`; `head` names the modules that make the logits.

    Raises:
        PolicyError: the policy is another word.
    """
    if policy == "all":
        return ((".*", 1.0),)
    if policy == "head":
        return (*((re.escape(module) + r"\..*", 1.0) for module in head), (".*", None))
    if isinstance(policy, str):
        raise PolicyError(
            f"'{policy}' is neither of {', '.join(SHORTHANDS)} nor a list of rows" + did_you_mean(policy, SHORTHANDS)
        )
    return policy.rows if isinstance(policy, LayerDecay) else policy


def row_rules(rows: Rows, field: str) -> list[tuple[bool, str, Any, str]]:
    """Return the rules that the rows of a field must keep, whatever the network; for `validation.check`."""
    rules: list[tuple[bool, str, Any, str]] = []
    for pattern, scale in rows:
        rules.append((_compiles(pattern), field, pattern, "is no regular expression"))
        is_sane = scale is None or 0 < scale <= LARGEST_SCALE
        rules.append((is_sane, field, scale, f"must be null (frozen) or above 0 and at most {LARGEST_SCALE:g}"))
    return rules


def _compiles(pattern: str) -> bool:
    try:
        regex.compile(pattern)
    except regex.error:
        return False
    return True


def _matches(pattern: str, name: str) -> bool:
    """Return whether a pattern matches a parameter's whole name.

    Raises:
        PolicyError: it takes too long to tell.
    """
    try:
        return regex.fullmatch(pattern, name, timeout=MATCH_SECONDS) is not None
    except TimeoutError:
        raise PolicyError(
            f"the pattern '{pattern}' backtracks without end on '{name}': write it without nested repetitions"
        ) from None


def scales(policy: Policy, network: nn.Module, head: Sequence[str]) -> dict[str, float]:
    """Return the learning-rate scale of each parameter that the policy trains, in the network's order.

    Raises:
        PolicyError: a pattern decides nothing or never ends, a parameter is not covered, or nothing is left to train.
    """
    trained = _scales(policy, [name for name, _ in network.named_parameters()], head)
    if not isinstance(policy, LayerDecay):
        return trained
    from transferlab.core.models.layers import layer_numbers  # it loads timm, which config need not wait for

    layers = layer_numbers(network, head)
    last = max(layers.values())
    return {name: scale * policy.layer_decay ** (last - layers[name]) for name, scale in trained.items()}


def _scales(policy: Policy, names: list[str], head: Sequence[str]) -> dict[str, float]:
    """Return the scale that the rows give to each parameter that they train."""
    decided: dict[str, float | None] = {}
    for pattern, scale in rows(policy, head):
        matching = [name for name in names if name not in decided and _matches(pattern, name)]
        if not matching:
            raise PolicyError(
                f"the pattern '{pattern}' matches no parameter that earlier rows leave"
                f"{did_you_mean(pattern, names)} (the first names are {', '.join(names[:3])})"
            )
        decided.update(dict.fromkeys(matching, scale))
    uncovered = [name for name in names if name not in decided]
    if uncovered:
        raise PolicyError(
            f"no row covers {', '.join(uncovered[:5])}"
            f"{f' and {len(uncovered) - 5} more' if len(uncovered) > 5 else ''};"
            " end with ['.*', null] to freeze the rest"
        )
    trained = {name: scale for name in names if (scale := decided[name]) is not None}
    if not trained:
        raise PolicyError("every parameter is frozen; a stage must train something")
    return trained


def trains_head_alone(policy: Policy, parameters: Iterable[str], head: Sequence[str]) -> bool:
    """Return whether the policy trains none of these parameters outside the modules that make the logits.

    Raises:
        PolicyError: as `scales`.
    """
    inside = tuple(f"{module}." for module in head)
    return all(name.startswith(inside) for name in _scales(policy, list(parameters), head))


def trains_batch_norm(policy: Policy, parameters: Sequence[str], tensors: Iterable[str], head: Sequence[str]) -> bool:
    """Return whether a BatchNorm is in training mode under the policy; one without parameters is taken to be.

    Args:
        policy: of a stage.
        parameters: names of all of the network's.
        tensors: names of all parameters and buffers.
        head: the modules that make the logits.

    Raises:
        PolicyError: as `scales`.
    """
    trained = _scales(policy, list(parameters), head)
    norms = [name.removesuffix("running_mean") for name in tensors if name.endswith(".running_mean")]
    own = [[name for name in (f"{norm}weight", f"{norm}bias") if name in parameters] for norm in norms]
    return any(not names or not trained.keys().isdisjoint(names) for names in own)


def apply(model: nn.Module, policy: Policy, head: Sequence[str]) -> dict[str, float]:
    """Set `requires_grad` of every parameter by the policy and return the scales of the trained ones."""
    parameters = dict(model.named_parameters())
    trained = scales(policy, model, head)
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in trained)
    return trained


def freeze_untrained(model: nn.Module, policies: Iterable[Policy], head: Sequence[str]) -> bool:
    """Leave `requires_grad` to the parameters that any policy trains; return whether there are any.

    Raises:
        PolicyError: a policy does not fit the network.
    """
    trained = {name for policy in policies for name in scales(policy, model, head)}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    return bool(trained)


def train_mode(model: nn.Module) -> None:
    """Put the network into training mode, and every frozen module whole into `eval`.

    A module is frozen when it has parameters, itself or below, and none of them is trained: its BatchNorm statistics
    stay and its dropout and stochastic depth are off. A module without parameters follows the module it stands in.
    """
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()
