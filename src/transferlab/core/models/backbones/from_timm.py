"""Models of timm, by name, with the tag of their weights."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

import timm
from torch import Tensor, nn

from transferlab.core.models.backbones.weights import offline
from transferlab.core.transforms.input import Preset
from transferlab.core.validation import did_you_mean


@cache
def names() -> list[str]:
    """Return all models of the installed timm, without weights tags."""
    found: list[str] = timm.list_models()
    return found


def build(name: str, classes: int, size: int, drop_path: float | None = None) -> nn.Module:
    """Build the model without weights."""
    extra = made_for(name, size) | ({} if drop_path is None else {"drop_path_rate": drop_path})
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, **extra)
    return network


def made_for(name: str, size: int) -> dict[str, Any]:
    """Return the arguments that make a network with fixed position embeddings or windows for images of `size` px."""
    config = timm.get_pretrained_cfg(name)
    return {"img_size": size} if config is not None and config.fixed_input_size else {}


def _tags(name: str) -> list[str]:
    return [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]


def preset(name: str, weights: str | None) -> Preset:
    """Return the pretrained configuration of the tag, or of the default tag when there are no weights.

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


def tensors(name: str, weights: str, size: int) -> dict[str, Tensor]:
    """Return the weights, from the hub's cache or the network, with positions resampled to images of `size` px.

    Raises:
        WeightsError: there is no network and nothing in the cache.
    """
    config = timm.get_pretrained_cfg(f"{name}.{weights}", allow_unregistered=False)
    where = config and (config.hf_hub_id or config.url)
    with offline(f"timm/{name}.{weights}", str(where)):
        network = timm.create_model(f"{name}.{weights}", pretrained=True, **made_for(name, size))
    loaded: dict[str, Tensor] = network.state_dict()
    return loaded


def adapt(network: nn.Module, tensors: dict[str, Tensor]) -> Mapping[str, Tensor]:
    """Translate the names of the original authors' files, and resample position embeddings to the network's size.

    timm keeps a function for that beside each architecture, which it calls when it loads weights itself.
    """
    translate = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    found: Mapping[str, Tensor] = translate(tensors, network) if translate else tensors
    return found
