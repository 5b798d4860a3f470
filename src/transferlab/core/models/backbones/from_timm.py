"""Models of timm, by name, with the tag of their weights."""

from __future__ import annotations

from functools import cache
from typing import Any

import timm
from torch import Tensor, nn

from transferlab.core.models.backbones.weights import offline
from transferlab.core.transforms.view import Preset
from transferlab.core.validation import did_you_mean


@cache
def names() -> list[str]:
    """All models of the installed timm, without weights tags."""
    found: list[str] = timm.list_models()
    return found


def build(name: str, classes: int, size: int) -> nn.Module:
    """The model without weights."""
    fixed = timm.get_pretrained_cfg(name)
    extra: dict[str, Any] = {"img_size": size} if fixed is not None and fixed.fixed_input_size else {}
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, **extra)
    return network


def _tags(name: str) -> list[str]:
    return [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]


def preset(name: str, weights: str | None) -> Preset:
    """The pretrained configuration of the tag; of the default tag when there are no weights.

    Raises:
        ValueError: timm has no such tag.
    """
    if weights is not None and weights not in _tags(name):
        raise ValueError(
            f"is none of timm/{name}'s tags ({', '.join(_tags(name)) or 'it has none'}) and no weights file"
            + did_you_mean(weights, _tags(name))
        )
    config = timm.get_pretrained_cfg(f"{name}.{weights}" if weights else name)
    if config is None:
        return Preset(size=224, resize=256)
    size = config.input_size[-1]
    return Preset(
        size=size,
        resize=int(size / config.crop_pct),
        interpolation="bicubic" if config.interpolation == "bicubic" else "bilinear",
        mean=(config.mean[0], config.mean[1], config.mean[2]),
        std=(config.std[0], config.std[1], config.std[2]),
    )


def tensors(name: str, weights: str) -> dict[str, Tensor]:
    """The weights, from the hub's cache or the network.

    Raises:
        WeightsError: there is no network and nothing in the cache.
    """
    config = timm.get_pretrained_cfg(f"{name}.{weights}", allow_unregistered=False)
    where = config and (config.hf_hub_id or config.url)
    with offline(f"timm/{name}.{weights}", str(where)):
        network = timm.create_model(f"{name}.{weights}", pretrained=True)
    loaded: dict[str, Tensor] = network.state_dict()
    return loaded
