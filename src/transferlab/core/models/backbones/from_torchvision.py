"""Classification models of torchvision, with the weights enum of each."""

from __future__ import annotations

from functools import cache

from timm.layers import resample_abs_pos_embed  # type: ignore[attr-defined]
from torch import Tensor, nn
from torchvision import models
from torchvision.transforms import InterpolationMode

from transferlab.core.models.backbones.weights import offline
from transferlab.core.transforms.input import Preset
from transferlab.core.validation import did_you_mean

_INCEPTIONS = ("googlenet", "inception_v3")
_POSITIONS = "encoder.pos_embedding"


@cache
def names() -> list[str]:
    """Return the classification models of `torchvision.models`: none for detection, video or segmentation."""
    found: list[str] = models.list_models(module=models)
    return found


def build(name: str, classes: int, size: int, drop_path: float | None = None) -> nn.Module:
    """Build the model without weights or auxiliary heads; fixed position embeddings are made for `size`."""
    extra: dict[str, object] = {} if drop_path is None else {"stochastic_depth_prob": drop_path}
    if name.startswith("vit_"):
        extra["image_size"] = size
    elif name == "maxvit_t":
        extra["input_size"] = (size, size)
    elif name in _INCEPTIONS:
        extra |= {"aux_logits": False, "init_weights": True}
    network: nn.Module = models.get_model(name, weights=None, num_classes=classes, **extra)
    return network


def _member(name: str, weights: str) -> models.WeightsEnum:
    enum = models.get_model_weights(name)
    if weights not in enum.__members__:
        members = ", ".join(enum.__members__)
        raise ValueError(
            f"is none of torchvision/{name}'s weights ({members}) and no weights file"
            + did_you_mean(weights, enum.__members__)
        )
    return enum[weights]


def preset(name: str, weights: str | None) -> Preset:
    """Return the input of the weights' own transforms, or of the default weights' when there are none.

    Raises:
        ValueError: the enum has no such member.
    """
    member = _member(name, weights) if weights else models.get_model_weights(name)["DEFAULT"]
    transform = member.transforms()
    cubic = transform.interpolation == InterpolationMode.BICUBIC
    # Their weights were made for (x - 0.5) / 0.5, which torchvision computes inside the network (`transform_input`).
    halves = (0.5, 0.5, 0.5) if name in _INCEPTIONS else None
    return Preset(
        size=transform.crop_size[0],
        resize=transform.resize_size[0],
        interpolation="bicubic" if cubic else "bilinear",
        mean=halves or tuple(transform.mean),
        std=halves or tuple(transform.std),
    )


def tensors(name: str, weights: str, size: int) -> dict[str, Tensor]:
    """Return the weights, from torch's hub cache or the network; `adapt` fits them to another size than their own.

    Raises:
        WeightsError: there is no network and nothing in the cache.
    """
    member = _member(name, weights)
    # Through the network, since some files (DenseNet's) have old names that only its own constructor translates.
    with offline(f"torchvision/{name} {weights}", member.url):
        # Fetched first without running code, which the constructor would allow; it then finds them in the cache.
        member.get_state_dict(progress=True, check_hash=True, weights_only=True)
        network: nn.Module = models.get_model(name, weights=member)
    return network.state_dict()


def adapt(network: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Resample the position embeddings of a vision transformer to the network's size, as timm does."""
    if _POSITIONS in tensors and isinstance(network, models.VisionTransformer):
        side = network.image_size // network.patch_size
        tensors[_POSITIONS] = resample_abs_pos_embed(tensors[_POSITIONS], [side, side], num_prefix_tokens=1)
    return tensors
