"""Checkpoints: safetensors with a JSON header. Loading one runs no code.

One file alone can predict. Where the trials of a strategy have most weights in common, these lie once beside them, in
`shared.safetensors`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from transferlab.core.errors import MendableError
from transferlab.core.files.hashing import digest
from transferlab.core.models.checkpoint_header import FORMAT, CheckpointHeader

SHARING_FORMAT = 2  # of files that refer to the one with the shared tensors
SHARED = "shared.safetensors"
_KEY, _SEAL, _SHARED = "transferlab", "sha256", "shared_sha256"
_CLASSIFIER = "pretrained classifier/"  # before the names of its tensors in a file
REMEDY = "restore a copy of it, or run the node that makes it again"


class CheckpointError(MendableError):
    """A file that is no checkpoint of this project, is damaged, or belongs elsewhere."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights and what they mean.

    Attributes:
        tensors: the network's state dict, on the CPU.
        header: see `CheckpointHeader`.
        path: the file it was read from, for messages.
        remedy: what to do when it cannot be used, for messages.
        classifier: before training, tensors of the head that the pretrained weights came with, for a head that begins
            with what it knows.
    """

    tensors: dict[str, Tensor]
    header: CheckpointHeader
    path: Path | None = field(default=None, compare=False)
    remedy: str = field(default=REMEDY, compare=False)
    classifier: dict[str, Tensor] = field(default_factory=dict)

    def to_bytes(self, shared: Mapping[str, Tensor] | None = None) -> bytes:
        """Return the content of the file, which leaves `shared` tensors to the file beside it."""
        shared = shared or {}
        tensors = {name: tensor.contiguous() for name, tensor in self.all_tensors().items() if name not in shared}
        header = self.header.to_json()
        if shared:
            header |= {"format": SHARING_FORMAT, _SHARED: digest(dict(sorted(shared.items())))}
        return save(tensors, metadata={_KEY: json.dumps({**header, _SEAL: _seal(header, tensors)}, sort_keys=True)})

    def all_tensors(self) -> dict[str, Tensor]:
        """Return the network's tensors, and those of the pretrained classifier under names of their own."""
        return self.tensors | {_CLASSIFIER + name: tensor for name, tensor in self.classifier.items()}

    @classmethod
    def read(cls, path: Path, remedy: str = REMEDY) -> Checkpoint:
        """Read a checkpoint.

        Args:
            path: the file.
            remedy: what to do when it cannot be used, for messages.

        Raises:
            CheckpointError: the file is gone, damaged (a bit has flipped), not a checkpoint of this project, or its
                header or weights cannot be used.
        """
        if not path.is_file():
            raise CheckpointError(f"{path} is gone: {remedy}")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            values = json.loads(metadata[_KEY])
            if not isinstance(values, dict):
                raise ValueError("its header is no JSON object")
            is_whole = values.pop(_SEAL, None) == _seal(values, tensors)
        except (SafetensorError, KeyError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: not a checkpoint of transferlab ({error}); {remedy}") from error
        if not is_whole:
            raise CheckpointError(f"{path} is damaged (its SHA-256 is another): {remedy}")
        if values.get("format") == SHARING_FORMAT and _SHARED in values:
            tensors |= _read_shared(path.with_name(SHARED), values.pop(_SHARED), remedy)
            values["format"] = FORMAT
        try:
            header = CheckpointHeader.from_json(values)
        except ValueError as error:
            raise CheckpointError(f"{path}: its header cannot be used: {error}; {remedy}") from error
        stored = [name for name in tensors if name.startswith(_CLASSIFIER)]
        classifier = {name.removeprefix(_CLASSIFIER): tensors.pop(name) for name in stored}
        checkpoint = cls(tensors, header, path, remedy, classifier)
        if broken := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
            raise checkpoint.unusable(f"'{broken[0]}' holds NaN or infinite weights")
        return checkpoint

    def unusable(self, reason: str) -> CheckpointError:
        """Return the error that says why this checkpoint cannot be used, naming its file."""
        return CheckpointError(f"{self.path or 'this checkpoint'}: {reason}; {self.remedy}")


def shared_tensors(checkpoints: Sequence[Checkpoint]) -> dict[str, Tensor]:
    """Return the tensors that are the same in all of several checkpoints, if these are most of their bytes."""
    first, *others = [checkpoint.tensors for checkpoint in checkpoints] or [{}]
    same = {
        name: tensor.contiguous()
        for name, tensor in first.items()
        if others and all(name in other and torch.equal(tensor, other[name]) for other in others)
    }
    return same if 2 * _nbytes(same) > _nbytes(first) else {}


def _nbytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def _read_shared(path: Path, sha256: str, remedy: str) -> dict[str, Tensor]:
    """Read the tensors that the trials of a strategy have in common.

    Raises:
        CheckpointError: the file is gone, damaged or that of other trials.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path} is gone, which holds what the trials have in common: keep it beside them; {remedy}"
        )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a file of tensors ({error}); {remedy}") from error
    if digest(tensors) != sha256:
        raise CheckpointError(f"{path} is damaged (its SHA-256 is another), or that of other trials: {remedy}")
    return tensors


def _seal(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of all that a file says, whatever the order of its tensors."""
    text = json.dumps({key: value for key, value in header.items() if key != _SEAL}, sort_keys=True)
    return hashlib.sha256(f"{text} {digest(dict(sorted(tensors.items())))}".encode()).hexdigest()


def on_cpu(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the state dict, contiguous, on the CPU."""
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in module.state_dict().items()
    }
