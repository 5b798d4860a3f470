"""Tensors of a weights file, named as the network names them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from transferlab.core.models.backbones.weights import listed, plain
from transferlab.core.models.backbones.weights_file import WeightsError

logger = logging.getLogger(__name__)


def fit(
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    weights: str,
    skip: Callable[[str], bool],
    adapt: Callable[[dict[str, Tensor]], Mapping[str, Tensor]] = lambda tensors: tensors,
) -> dict[str, Tensor]:
    """Name the tensors found as the network names them; those that need not fit are there as they are, or missing.

    Tried in turn: the file's names, without a prefix that they have in common; the same after `adapt`; and, when names
    differ, the order, if kinds and shapes agree.

    Args:
        found: the file's tensors.
        wanted: the network's state dict.
        weights: where they come from, for the error.
        skip: names that need not fit (the head's).
        adapt: translates other names and resamples position embeddings, as the network's library does.

    Raises:
        WeightsError: a tensor is missing or has another shape.
    """
    found, wanted = _without_counters(found), _without_counters(wanted)
    required = {name: tensor for name, tensor in wanted.items() if not skip(name)}
    tensors: Mapping[str, Tensor] = _without_prefix(found, required, weights)
    if not _fits(tensors, required):
        adapted = _adapted(tensors, adapt, weights)
        if _fits(adapted, required):
            tensors = adapted
        elif not required.keys() <= tensors.keys() and list(map(_kind, found)) == list(map(_kind, wanted)):
            tensors = dict(zip(wanted, found.values(), strict=True))
    if not _fits(tensors, required):
        raise WeightsError(f"model.weights: '{weights}' does not fit the network: {_difference(tensors, required)}")
    for name, tensor in required.items():
        if problem := _problem(tensors[name], tensor):
            raise WeightsError(f"model.weights: '{weights}': {name} {problem}: save the weights as plain floats")
    return {name: tensors[name] for name in wanted if name in tensors}


def _problem(found: Tensor, wanted: Tensor) -> str:
    """Say why a tensor of the right name and shape is none to begin with; empty where it is."""
    if found.is_quantized or found.is_meta or found.layout != torch.strided:
        return "is quantized, sparse or without values"
    if found.is_floating_point() != wanted.is_floating_point() or found.is_complex():
        return f"holds numbers of type {found.dtype}"
    return "" if not found.is_floating_point() or found.isfinite().all() else "holds NaN or infinite values"


def _fits(named: Mapping[str, Tensor], required: Mapping[str, Tensor]) -> bool:
    return all(name in named and named[name].shape == tensor.shape for name, tensor in required.items())


def _adapted(
    named: Mapping[str, Tensor], adapt: Callable[[dict[str, Tensor]], Mapping[str, Tensor]], weights: str
) -> Mapping[str, Tensor]:
    try:
        return adapt(dict(named))
    except Exception as error:  # a library's translation of names meets a file that it was not made for
        logger.debug("%s: not translated (%s)", weights, plain(error))
        return named


def _without_prefix(found: Mapping[str, Tensor], required: Mapping[str, Tensor], weights: str) -> dict[str, Tensor]:
    """Strip the prefix (`module.`, `model.`, `backbone.`) with which most of the required names are in the file.

    Raises:
        WeightsError: the file holds several whole networks, under different prefixes.
    """
    prefixes = Counter(
        key.removesuffix(name)
        for key in found
        for name in _endings(key)
        if name in required  # every ending that is a whole name: `a.b.c` gives `a.b.c`, `b.c` and `c`
    )
    whole = [prefix for prefix, count in prefixes.items() if count == len(required)]
    if len(whole) > 1 and "" not in whole:
        raise WeightsError(
            f"model.weights: '{weights}' holds several networks, under {listed(iter(whole))}; save the one you mean "
            "as a file of its own, with the names below that prefix"
        )
    best = "" if "" in whole or not prefixes else prefixes.most_common(1)[0][0]
    return {key.removeprefix(best): tensor for key, tensor in found.items() if key.startswith(best)}


def _endings(key: str) -> Iterator[str]:
    parts = key.split(".")
    return (".".join(parts[start:]) for start in range(len(parts)))


def _difference(named: Mapping[str, Tensor], required: Mapping[str, Tensor]) -> str:
    """Say what is missing or of another shape, and what the file has instead."""
    missing = [name for name in required if name not in named]
    other = [
        f"{name}: {tuple(named[name].shape)} in the file, {tuple(tensor.shape)} in the network"
        for name, tensor in required.items()
        if name in named and named[name].shape != tensor.shape
    ]
    what = f"lacks {', '.join(missing[:3])}" if missing else f"differs in {'; '.join(other[:3])}"
    has = f"; it has {listed(named)}" if missing else ""
    return (
        f"it {what} ({len(missing)} missing, {len(other)} of another shape){has}. "
        "Is model.name the network that the file was made from, and input.size its size?"
    )


def _without_counters(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out BatchNorm's batch counters: nothing here uses them, and files older than PyTorch 0.4.1 lack them."""
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}


def _kind(name: str) -> str:
    """Return `weight`, `bias`, `running_mean`: tensors of one shape that an order must not mix up."""
    return name.rpartition(".")[2]
