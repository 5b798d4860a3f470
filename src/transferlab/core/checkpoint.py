"""Checkpoints: safetensors with a JSON header, so that loading one runs no code and one alone can predict."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

_KEY, _SEAL = "transferlab", "sha256"
_CURE = "restore a copy of it, or run the node that makes it again"


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors: names, types, shapes and bits."""
    total = hashlib.sha256()
    for name, tensor in tensors.items():
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _seal(header: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of all that a file says, whatever the order of its tensors."""
    return hashlib.sha256(f"{header} {digest(dict(sorted(tensors.items())))}".encode()).hexdigest()


class CheckpointError(RuntimeError):
    """A file that is no checkpoint of this project, or a damaged one."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights and what they mean.

    Attributes:
        tensors: the network's state dict, on the CPU.
        header: JSON: strategy, model, classes, view, trial, seed, selection, metrics, versions.
    """

    tensors: dict[str, Tensor]
    header: dict[str, Any]

    def to_bytes(self) -> bytes:
        """The file's content."""
        tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
        header = json.dumps(self.header, sort_keys=True)
        return save(tensors, metadata={_KEY: header, _SEAL: _seal(header, tensors)})

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read a checkpoint. A file without a digest is taken as it is.

        Raises:
            CheckpointError: the file is gone, damaged (a bit has flipped) or not a checkpoint of this project.
        """
        if not path.is_file():
            raise CheckpointError(f"{path} is gone: {_CURE}")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            header = metadata[_KEY]
            if metadata.get(_SEAL) not in (None, _seal(header, tensors)):
                raise CheckpointError(f"{path} is damaged (its SHA-256 is another): {_CURE}")
            meaning = json.loads(header)
            if not isinstance(meaning, dict):
                raise ValueError("its header is no JSON object")
            return cls(tensors, meaning)
        except (SafetensorError, KeyError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: not a checkpoint of transferlab ({error})") from error
