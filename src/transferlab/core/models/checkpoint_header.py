"""What the header of a checkpoint says, and how headers of older formats are read."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from transferlab.core.data.decoding.levels import Levels
from transferlab.core.files.typed_json import read_as
from transferlab.core.models.backbones.model import Pooled
from transferlab.core.transforms.input import LARGEST_SIZE
from transferlab.core.transforms.view import View

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class CheckpointHeader:
    """What the tensors of a checkpoint mean.

    The network is rebuilt from `model`, `pooled`, the number of `classes` and `view.size`. All else is a record.

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
        pooled: what the head is given of the last stages; None where it is given the network's own last features.
        trained_on: the images of the training split and their labels (`Split.contents`).
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
    pooled: Pooled | None = None
    trained_on: str | None = None
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
