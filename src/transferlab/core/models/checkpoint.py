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
from torch import Tensor, nn

from transferlab.core.errors import MendableError
from transferlab.core.files.hashing import digest

_KEY, _SEAL = "transferlab", "sha256"
_CURE = "restore a copy of it, or run the node that makes it again"


def _seal(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of all that a file says, whatever the order of its tensors."""
    text = json.dumps({key: value for key, value in header.items() if key != _SEAL}, sort_keys=True)
    return hashlib.sha256(f"{text} {digest(dict(sorted(tensors.items())))}".encode()).hexdigest()


class CheckpointError(MendableError):
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
        header = json.loads(json.dumps(self.header))  # as it will be read
        return save(tensors, metadata={_KEY: json.dumps({**header, _SEAL: _seal(header, tensors)}, sort_keys=True)})

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read a checkpoint.

        Raises:
            CheckpointError: the file is gone, damaged (a bit has flipped) or not a checkpoint of this project.
        """
        if not path.is_file():
            raise CheckpointError(f"{path} is gone: {_CURE}")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            header = json.loads(metadata[_KEY])
            if not isinstance(header, dict):
                raise ValueError("its header is no JSON object")
            if header.pop(_SEAL, None) != _seal(header, tensors):
                raise CheckpointError(f"{path} is damaged (its SHA-256 is another): {_CURE}")
            return cls(tensors, header)
        except (SafetensorError, KeyError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: not a checkpoint of transferlab ({error})") from error


def on_cpu(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the state dict, contiguous, on the CPU."""
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in module.state_dict().items()
    }
