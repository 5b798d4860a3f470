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

_KEY = "transferlab"


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors: names, types, shapes and bits."""
    total = hashlib.sha256()
    for name, tensor in tensors.items():
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


class CheckpointError(RuntimeError):
    """A file that is no checkpoint of this project."""


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
        return save(tensors, metadata={_KEY: json.dumps(self.header, sort_keys=True)})

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read a checkpoint.

        Raises:
            CheckpointError: the file is damaged or not a checkpoint of this project.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return cls(tensors, json.loads(metadata[_KEY]))
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise CheckpointError(f"{path}: not a checkpoint of transferlab ({error})") from error
