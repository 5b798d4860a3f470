"""Networks by name, from torchvision, timm and this project, each with a fresh head for the classes at hand.

A family is a module with four functions: `names()`, `build(name, classes, size)`, `preset(name, weights)` and
`tensors(name, weights)`. The head is found, not listed: it is what changes shape when the number of classes does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from transferlab.core.models.backbones import from_timm, from_torchvision, small
from transferlab.core.models.backbones.weights import fit, is_file, read
from transferlab.core.transforms.view import Preset
from transferlab.core.validation import FieldProblems, Problem, check, did_you_mean

BATCH_NORM_MOMENTUM = 0.1
FAMILIES: dict[str, ModuleType] = {"torchvision": from_torchvision, "timm": from_timm, "transferlab": small}


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network and its weights.

    Attributes:
        name: `torchvision/<name>`, `timm/<name>`, `transferlab/convnet`, `transferlab/small_resnet` or
            `transferlab/resnet18_32px`.
        weights: null trains from scratch. Else a member of the torchvision model's weights enum (`IMAGENET1K_V1`,
            `DEFAULT`), a timm tag (`in1k`), a weights file (`.pth`, `.pt`, `.safetensors`), or
            `package://<package>/<file>` for a file that an installed Python package ships.
    """

    name: str
    weights: str | None = None

    def __post_init__(self) -> None:
        family, _, name = self.name.partition("/")
        check(
            (
                bool(name) and family in FAMILIES,
                "name",
                self.name,
                f"must be one of {', '.join(f + '/<name>' for f in FAMILIES)}" + self._suggestion(),
            )
        )
        known = FAMILIES[family].names()
        check((name in known, "name", self.name, f"is no {family} model" + did_you_mean(name, known)))
        try:
            preset(self)
        except ValueError as error:
            raise FieldProblems([Problem("weights", self.weights, str(error))]) from error

    def _suggestion(self) -> str:
        bare = self.name.rpartition("/")[2]
        homes = [f"{family}/{bare}" for family, module in FAMILIES.items() if bare in module.names()]
        return f"; did you mean {' or '.join(map(repr, homes))}?" if homes else ""

    @property
    def family(self) -> ModuleType:
        """The module that knows this network."""
        return FAMILIES[self.name.partition("/")[0]]

    @property
    def short_name(self) -> str:
        """The name within the family."""
        return self.name.partition("/")[2]


def preset(model: Model) -> Preset:
    """The input that the weights were made with.

    Raises:
        ValueError: the family has no such weights.
    """
    named = None if is_file(model.weights) else model.weights
    found: Preset = model.family.preset(model.short_name, named)
    if model.weights is None:
        return Preset(size=found.size, resize=found.resize, interpolation=found.interpolation)
    return found


def build(model: Model, classes: int, size: int) -> nn.Module:
    """A network with `classes` logits for images of `size` px, randomly initialised from torch's global generator.

    BatchNorm statistics move with torch's default momentum everywhere: networks ported from TensorFlow bring 0.01, made
    for long trainings, with which the statistics lag behind the weights through all of a short fine-tuning.
    """
    network: nn.Module = model.family.build(model.short_name, classes, size)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = BATCH_NORM_MOMENTUM
    return network


def skeleton(model: Model, classes: int, size: int) -> nn.Module:
    """The network without memory or numbers (torch's meta device): for names, shapes and checks."""
    try:
        with torch.device("meta"):
            return build(model, classes, size)
    except NotImplementedError:  # torchvision's RegNet computes its widths with tensors
        return build(model, classes, size).to("meta")


def heads(model: Model, size: int) -> tuple[str, ...]:
    """Names of the modules that make the logits: those whose parameters change shape with the number of classes."""
    few, more = ({n: p.shape for n, p in skeleton(model, k, size).named_parameters()} for k in (2, 3))
    names = dict.fromkeys(name.rpartition(".")[0] for name in few if few[name] != more[name])
    return tuple(names)


def in_head(name: str, head: Sequence[str]) -> bool:
    """Whether a parameter or buffer belongs to the head."""
    return any(name.startswith(module + ".") for module in head)


def pretrained(model: Model, network: nn.Module, head: Sequence[str]) -> dict[str, Tensor]:
    """The pretrained tensors of all but the head, named as in `network`; empty without weights.

    Raises:
        WeightsError: the weights cannot be had or do not fit; says what to do.
    """
    if model.weights is None:
        return {}
    tensors = read(model.weights) if is_file(model.weights) else model.family.tensors(model.short_name, model.weights)
    return fit(tensors, network.state_dict(), model.weights, skip=lambda name: in_head(name, head))


def describe(model: Model) -> dict[str, Any]:
    """The model as it is written into a checkpoint's header."""
    return asdict(model)
