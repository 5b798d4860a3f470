"""Checkpoints: safetensors with a JSON header. Loading one runs no code.

One file alone can predict. Where the trials of a strategy have most weights in common, these lie once beside them, in
`shared.safetensors`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from transferlab.core.data.decoding.levels import Levels
from transferlab.core.errors import MendableError
from transferlab.core.files.hashing import digest
from transferlab.core.files.typed_json import read_as
from transferlab.core.transforms.input import LARGEST_SIZE
from transferlab.core.transforms.view import View

FORMAT = 1
SHARING_FORMAT = 2  # of files that refer to the one with the shared tensors
SHARED = "shared.safetensors"
_KEY, _SEAL, _SHARED = "transferlab", "sha256", "shared_sha256"
_CLASSIFIER = "pretrained classifier/"  # before the names of its tensors in a file
REMEDY = "restore a copy of it, or run the node that makes it again"


class CheckpointError(MendableError):
    """A file that is no checkpoint of this project, is damaged, or belongs elsewhere."""


@dataclass(frozen=True, kw_only=True)
class CheckpointHeader:
    """What the tensors of a checkpoint mean.

    The network is rebuilt from `model`, the number of `classes` and `view.size`. All else is a record.

    Attributes:
        model: name of the network, such as `timm/resnet18`.
        weights: the pretrained weights it began with; None began at random. Never looked up again.
        classes: names, in the order of the logits.
        view: how the network sees an image.
        head: names of the modules that make the logits.
        pretrained: names of the tensors that came from `weights`, which all trials share.
        strategy: its name. None, like all that follows, before training.
        trial: number of the trial, from 0.
        seed: of the experiment.
        selection: the rule by which the epoch was chosen.
        epoch: the epoch that these weights are from, over all stages.
        metrics: loss and accuracy by split, after that epoch.
        versions: of the packages that trained it.
        recipe: the strategy as JSON: model, input and stages. None also in files of format 0.
        levels: what is black and white in grey images of more than 8 bits; None where the data set has none.
        format: of the header, as written to the file.
    """

    model: str
    weights: str | None
    classes: tuple[str, ...]
    view: View
    head: tuple[str, ...]
    pretrained: tuple[str, ...] = ()
    strategy: str | None = None
    trial: int | None = None
    seed: int | None = None
    selection: str | None = None
    epoch: int | None = None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    recipe: dict[str, Any] | None = None
    levels: Levels | None = None
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """Return the header as plain JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> CheckpointHeader:
        """Read a header of this format or an older one.

        Raises:
            ValueError: a key is missing or holds something else than it should; names the key.
        """
        version = values.get("format", 0)
        if type(version) is not int or version not in range(FORMAT + 1):
            raise ValueError(f"its format is {version!r}, and this version of transferlab reads up to {FORMAT}")
        if version == 0:
            values = _from_format_0(values)
        header = read_as(cls, values)
        _check_plausible(header)
        return header


def _from_format_0(values: dict[str, Any]) -> dict[str, Any]:
    """Return a header as the first version wrote it, with the model's name and weights in one object, in format 1."""
    model = values.get("model")
    if not isinstance(model, dict) or "name" not in model:
        raise ValueError("'model.name' is missing")
    return {**values, "model": model["name"], "weights": model.get("weights"), "format": FORMAT}


def _check_plausible(header: CheckpointHeader) -> None:
    """Check values that have the right type and still cannot be.

    Raises:
        ValueError: names the key.
    """
    view = header.view
    for name, pixels in (("size", view.size), ("resize", view.resize)):
        if not 1 <= pixels <= LARGEST_SIZE:
            raise ValueError(f"'view.{name}' must be from 1 to {LARGEST_SIZE} px, not {pixels}")
    if not all(map(math.isfinite, (*view.mean, *view.std))) or min(view.std) <= 0:
        raise ValueError(f"'view.mean' {view.mean} and 'view.std' {view.std} must be finite, and std positive")
    if len(set(header.classes)) < max(1, len(header.classes)):
        raise ValueError(f"'classes' must be distinct names, not {list(header.classes)}")


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
