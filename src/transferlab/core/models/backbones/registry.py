"""Networks by name, from torchvision, timm and this project, each with a fresh head for the classes at hand.

A family is a module with five functions: `names()`, `build(name, classes, size, drop_path)`, `preset(name, weights)`,
`tensors(name, weights, size)` and `adapt(network, tensors)`. The head is found, not listed: it is what changes shape
when the number of classes does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from types import ModuleType

import torch
from torch import Tensor, nn

from transferlab.core import validation
from transferlab.core.models.backbones import from_timm, from_torchvision, small
from transferlab.core.models.backbones.fitting import fit
from transferlab.core.models.backbones.model import Model, Pooled
from transferlab.core.models.backbones.pooled import NETWORK, Tap, last_stages, on_stages
from transferlab.core.models.backbones.weights import read
from transferlab.core.models.backbones.weights_file import WeightsError, is_file
from transferlab.core.transforms.input import Preset
from transferlab.core.validation import FieldProblems, Problem, did_you_mean

BATCH_NORM_MOMENTUM = 0.1
DROP_PATHS = ("DropPath", "StochasticDepth")  # timm's and torchvision's modules
FAMILIES: dict[str, ModuleType] = {"torchvision": from_torchvision, "timm": from_timm, "transferlab": small}
# What libraries raise for a name or an input size that a network cannot have, when it is built or run.
BUILD_ERRORS = (RuntimeError, AssertionError, ValueError, TypeError, AttributeError, KeyError, IndexError)


def check(model: Model) -> None:
    """Look the network and its weights up in the installed libraries.

    Raises:
        FieldProblems: they are not there; names what is like them.
    """
    family, _, name = model.name.partition("/")
    validation.check(
        (
            bool(name) and family in FAMILIES,
            "name",
            model.name,
            f"must be one of {', '.join(f + '/<name>' for f in FAMILIES)}" + _homes_of(model.name),
        )
    )
    known = FAMILIES[family].names()
    validation.check((name in known, "name", model.name, f"is no {family} model" + did_you_mean(name, known)))
    try:
        preset(model)
    except ValueError as error:
        raise FieldProblems([Problem("weights", model.weights, str(error))]) from error


def _homes_of(name: str) -> str:
    """Suggest the families that have a network of this name, whatever stands before it."""
    bare = name.rpartition("/")[2]
    homes = [f"{family}/{bare}" for family, module in FAMILIES.items() if bare in module.names()]
    return f"; did you mean {' or '.join(map(repr, homes))}?" if homes else ""


def family_of(name: str) -> tuple[ModuleType, str]:
    """Return the module that knows a network, and the network's name within that family.

    Raises:
        ValueError: there is no such network here.
    """
    family, _, short = name.partition("/")
    if family not in FAMILIES or short not in FAMILIES[family].names():
        raise ValueError(f"the installed libraries have no network '{name}'")
    return FAMILIES[family], short


def preset(model: Model) -> Preset:
    """Return the input that the weights were made with.

    Raises:
        ValueError: the family has no such weights.
    """
    family, short = family_of(model.name)
    found: Preset = family.preset(short, None if is_file(model.weights) else model.weights)
    if model.weights is None:
        return Preset(size=found.size, resize=found.resize, interpolation=found.interpolation)
    return found


def build(
    name: str, classes: int, size: int, drop_path: float | None = None, pooled: Pooled | None = None
) -> nn.Module:
    """Build a network with `classes` logits for images of `size` px, initialised from torch's global generator.

    BatchNorm statistics move with torch's default momentum everywhere. Networks ported from TensorFlow bring 0.01, made
    for long trainings: with it the statistics lag behind the weights through all of a short fine-tuning.

    Raises:
        BUILD_ERRORS: there is no such network, or not for this size.
    """
    family, short = family_of(name)
    network: nn.Module = family.build(short, classes, size, drop_path)
    if pooled:
        network = on_stages(network, heads(name, size), taps(name, size, pooled.stages), pooled, classes)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = BATCH_NORM_MOMENTUM
    return network


def skeleton(
    name: str, classes: int, size: int, drop_path: float | None = None, pooled: Pooled | None = None
) -> nn.Module:
    """Return the network without memory or numbers (on torch's meta device): for names, shapes and checks.

    It is in evaluation mode, and the same for all who ask: it is to be read and not changed.

    Raises:
        BUILD_ERRORS: as `build`.
    """
    return _skeleton(name, classes, size, drop_path, pooled)


@cache  # by all arguments, given or not
def _skeleton(name: str, classes: int, size: int, drop_path: float | None, pooled: Pooled | None) -> nn.Module:
    try:
        with torch.device("meta"):
            return build(name, classes, size, drop_path, pooled).eval()
    except NotImplementedError:  # torchvision's RegNet computes its widths with tensors
        with torch.random.fork_rng(devices=[]):
            return build(name, classes, size, drop_path, pooled).to("meta").eval()


@cache
def taps(name: str, size: int, count: int) -> tuple[Tap, ...]:
    """Return the last stages of a network, for images of `size` px.

    Raises:
        BUILD_ERRORS: as `build`, or there are fewer stages, or their outputs cannot be pooled.
    """
    return last_stages(skeleton(name, 2, size), torch.empty(1, 3, size, size, device="meta"), count)


def heads(name: str, size: int, pooled: Pooled | None = None) -> tuple[str, ...]:
    """Name the modules that make the logits: those whose parameters change shape with the number of classes.

    Raises:
        BUILD_ERRORS: as `build`.
    """
    few, more = (_shapes(name, classes, size, pooled) for classes in (2, 3))
    return tuple(dict.fromkeys(parameter.rpartition(".")[0] for parameter in few if few[parameter] != more[parameter]))


def parameter_names(name: str, size: int, pooled: Pooled | None = None) -> tuple[str, ...]:
    """Return the names of a network's parameters, which do not depend on the number of classes.

    Raises:
        BUILD_ERRORS: as `build`.
    """
    return tuple(_shapes(name, 2, size, pooled))


@cache
def _shapes(name: str, classes: int, size: int, pooled: Pooled | None) -> dict[str, torch.Size]:
    return {parameter: p.shape for parameter, p in skeleton(name, classes, size, pooled=pooled).named_parameters()}


def in_head(name: str, head: Sequence[str]) -> bool:
    """Return whether a parameter or buffer belongs to the head."""
    return any(name.startswith(module + ".") for module in head)


def pretrained(model: Model, network: nn.Module, head: Sequence[str], size: int) -> dict[str, Tensor]:
    """Return the pretrained tensors of all but the head, named as in `network`; empty without weights.

    Args:
        model: the network's name and its weights.
        network: what they are for; only names and shapes are read, so that a `skeleton` will do.
        head: modules whose tensors are left out.
        size: px that the network was built for; position embeddings are resampled to it.

    Raises:
        WeightsError: the weights cannot be had or do not fit; says what to do.
    """
    if model.weights is None:
        return {}
    if model.pooled:
        whole, own_head = skeleton(model.name, 2, size), heads(model.name, size)
        own = pretrained(replace(model, pooled=None), whole, own_head, size)
        return {NETWORK + name: tensor for name, tensor in own.items()}
    found = _all_tensors(model, network, head, size)
    return {name: tensor for name, tensor in found.items() if not in_head(name, head)}


def can_be_resized(model: Model, network: nn.Module, head: Sequence[str]) -> bool:
    """Return whether named weights fit a network that was built for another size than theirs, resampled if need be.

    Nothing is fetched: their shapes are those of the same network at their own size.

    Args:
        model: the network's name and its weights.
        network: a `skeleton` will do.
        head: modules that need not fit.
    """
    family, _ = family_of(model.name)
    own = skeleton(model.name, 2, preset(model).size).state_dict()
    tensors = {name: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) for name, tensor in own.items()}
    try:
        fit(
            tensors,
            network.state_dict(),
            str(model.weights),
            skip=lambda name: in_head(name, head),
            adapt=lambda found: family.adapt(network, found),
        )
    except WeightsError:
        return False
    return True


def classifier(model: Model, network: nn.Module, head: Sequence[str], size: int) -> dict[str, Tensor]:
    """Return the tensors of the pretrained head, (C, ...) each for its own C classes, named as in `network`.

    Raises:
        WeightsError: as `pretrained`, or there is no head of this kind in the weights.
    """
    found, wanted = _all_tensors(model, network, head, size), network.state_dict()
    own = [name for name in wanted if in_head(name, head)]
    fits = all(name in found and found[name].shape[1:] == wanted[name].shape[1:] for name in own)
    if not fits or len({len(found[name]) for name in own}) != 1:
        raise WeightsError(f"model.weights: '{model.weights}' holds no classifier ({', '.join(own)}) of {model.name}")
    return {name: found[name] for name in own}


def _all_tensors(model: Model, network: nn.Module, head: Sequence[str], size: int) -> dict[str, Tensor]:
    """Return all pretrained tensors by the network's names; the head's may have other shapes, or be missing."""
    family, short = family_of(model.name)
    weights = str(model.weights)
    tensors = read(weights) if is_file(weights) else family.tensors(short, weights, size)
    return fit(
        tensors,
        network.state_dict(),
        weights,
        skip=lambda name: in_head(name, head),
        adapt=lambda found: family.adapt(network, found),
    )
