"""Numbers the layers of a network from its input on, to train earlier ones more slowly; finds its stages and middle.

timm's networks know their own layers. The layers of others are found in the tree of their modules.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from timm.models import group_parameters
from torch import nn

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_NUMBERED = re.compile(r"\d[a-z]?$")  # layer1, 0, encoder_layer_0, inception3a


def layer_numbers(network: nn.Module, head: Sequence[str]) -> dict[str, int]:
    """Return the layer of each parameter, from 0; those of the head are in the last one.

    Args:
        network: its own modules name its parameters.
        head: modules that make the logits.
    """
    if callable(matcher := getattr(network, "group_matcher", None)):
        numbers: dict[str, int] = group_parameters(network, matcher(coarse=False), reverse=True)
    else:
        numbers = _by_modules(network)
    last = max(numbers.values())
    in_head = tuple(f"{module}." for module in head)
    return {
        name: last if name.startswith(in_head) else numbers.get(name, last) for name, _ in network.named_parameters()
    }


def stages(network: nn.Module) -> tuple[str, ...]:
    """Name the stages of a network, in their order; empty where none are found.

    They are the numbered parts (`layer1`, `blocks.3`, `encoder_layer_0`), each of several layers, of the first module
    from the network inwards that has more than one of them. Where several such modules lie equally deep, the one with
    the most parts counts.
    """
    level = [("", network)]
    while level:
        parts = [
            [f"{path}{name}" for name, part in module.named_children() if _NUMBERED.search(name) and _has_layers(part)]
            for path, module in level
        ]
        if len(most := max(parts, key=len)) > 1:
            return tuple(most)
        level = [(f"{path}{name}.", part) for path, module in level for name, part in module.named_children()]
    return ()


def _has_layers(module: nn.Module) -> bool:
    return any(next(child.parameters(), None) is not None for child in module.children())


def telling(network: nn.Module, head: Sequence[str]) -> tuple[str, ...]:
    """Name the layers whose inputs tell familiar images from others: one in the middle, if it is trained, and the head.

    Training for a few classes makes the features of the last layers those of the classes alone (Papyan, Han and Donoho
    2020, "Prevalence of neural collapse"), so that images of anything else look like one of them. Lee et al. 2018, "A
    Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks" (NeurIPS) look at
    several layers. What is not trained keeps its features: there the first layer that is trained takes the place of
    the middle.

    Args:
        network: frozen as it was trained.
        head: modules that make the logits; of several the last counts: the ones before are auxiliary.
    """
    numbers = layer_numbers(network, head)
    last = max(numbers.values())
    for name, parameter in network.named_parameters():
        module, _, own = name.rpartition(".")
        is_layer = own == "weight" and not list(network.get_submodule(module).children())
        if is_layer and parameter.requires_grad and last // 2 <= numbers[name] < last:
            return module, head[-1]
    return (head[-1],)


def _by_modules(network: nn.Module) -> dict[str, int]:
    """Assign numbers to the blocks in the order of their parameters.

    A block that has biases and scales alone, such as a BatchNorm, joins the one before it.
    """
    blocks: dict[str, list[str]] = {}
    for name, _ in network.named_parameters():
        blocks.setdefault(_block(network, name), []).append(name)
    parameters, numbers, number = dict(network.named_parameters()), dict[str, int](), -1
    for members in blocks.values():
        number += number < 0 or any(parameters[name].ndim > 1 for name in members)
        numbers.update(dict.fromkeys(members, number))
    return numbers


def _block(network: nn.Module, parameter: str) -> str:
    """Return the path of the module that is a layer: the first numbered one that is no container of numbered ones."""
    path, module = "", network
    for part in parameter.split(".")[:-1]:
        module = module.get_submodule(part)
        path = f"{path}.{part}"
        holds_blocks = isinstance(module, _CONTAINERS) and any(
            _NUMBERED.search(name) and next(child.children(), None) is not None
            for name, child in module.named_children()
        )
        if _NUMBERED.search(part) and not holds_blocks:
            return path
    return path
