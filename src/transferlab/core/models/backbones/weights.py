"""Reads weights from a file."""

from __future__ import annotations

import logging
import pickle
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from transferlab.core.files.strangers import what_else
from transferlab.core.models.backbones.weights_file import WeightsError, locate

logger = logging.getLogger(__name__)

# Under which keys training scripts keep the state dict (torchvision, timm, Lightning, DeiT, MAE, DINO). The first wins.
_CONTAINERS = (
    *("state_dict", "model_state_dict", "model", "module", "net", "network", "weights"),
    *("model_state", "model_weights", "model_dict", "net_state_dict", "params", "checkpoint", "best_model", "state"),
    *("target_encoder", "teacher", "student", "backbone", "encoder"),
)
_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "params_ema")
_SCALAR = np.float64(0).__reduce__()[0]  # what makes a number of numpy's again
# What training scripts keep beside the weights, such as arguments and the best score: these hold values and do nothing.
_HARMLESS: list[Any] = [
    Namespace, PosixPath, datetime, np.dtype, type(np.dtype("f4")), type(np.dtype("f8")),
    type(np.dtype("i8")), *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]  # fmt: skip
_PICKLES = (b"PK\3\4", b"\x80")  # torch.save writes a zip, and once wrote a pickle
_AS_STATE_DICT = "torch.save(model.state_dict(), 'weights.pth')"
_ESCAPE_CODE = re.compile(r"\x1b\[[0-9;]*m")
_FOREIGN_CLASS = re.compile(r"GLOBAL (\S+)")


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
        raise WeightsError(f"model.weights: {path} is no file of weights, or is damaged{_what_else(path)}") from error
    except Exception as error:  # the readers raise whatever a damaged file leads them to: IndexError, struct.error, ...
        if "TorchScript" in str(error):
            raise WeightsError(
                f"model.weights: {path} is a TorchScript program, which is not run here. Load it with torch.jit.load "
                f"where it was made and save {_AS_STATE_DICT}"
            ) from error
        raise WeightsError(f"model.weights: {path} is damaged or holds more than weights: {plain(error)}") from error
    return _unwrap(loaded, path)


def plain(error: BaseException) -> str:
    """Return the first line of an error's message, without the escape codes that torch puts there for terminals."""
    return _ESCAPE_CODE.sub("", str(error)).strip().partition("\n")[0] or type(error).__name__


def _what_else(path: Path) -> str:
    """Say what a file is that is often found where weights should be."""
    with path.open("rb") as file:
        what = what_else(file.read(64))
    return f"; it is {what}" if what else ""


def _is_safetensors(path: Path) -> bool:
    """Return whether a file is one by its name or its beginning: eight bytes of length, then JSON."""
    with path.open("rb") as file:
        start = file.read(9)
        return start[8:] == b"{" or (path.suffix.lower() == ".safetensors" and not start.startswith(_PICKLES))


def _load_pickle(path: Path) -> Any:
    # As a file: by a path's suffix torch would choose another reader.
    with path.open("rb") as file, torch.serialization.safe_globals(_HARMLESS):
        return torch.load(file, map_location="cpu", weights_only=True)


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
        what = (
            f"a dictionary with {f'the keys {listed(found)}' if found else 'nothing in it'}"
            if isinstance(found, Mapping)
            else type(found).__name__
        )
        raise WeightsError(
            f"model.weights: {path} does not hold a state dict (names and tensors) but {what}. "
            f"Load it where it was made and save {_AS_STATE_DICT}"
        )
    return tensors


def listed(names: Iterator[Any] | Mapping[Any, Any]) -> str:
    """Return the first five of some names, and how many more there are."""
    shown = [str(name) for name in names]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


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
