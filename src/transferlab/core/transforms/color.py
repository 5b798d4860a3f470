"""Changes the colours of a batch by arithmetic in RGB, values in [0, 1], as torchvision's functions do.

Shapes: N images of a split, B of a batch. `step_N2` is an operation and its amount for each image: its place in
`KINDS` and a factor, a shift, a number of bits or a threshold.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as tv

from transferlab.core.runtime.device import upload
from transferlab.core.transforms.operations import ColorJitter

# ITU-R 601-2 luma, the weights PIL and torchvision use for grey.
_LUMA = (0.299, 0.587, 0.114)


def steps(operation: ColorJitter, n: int, rng: torch.Generator) -> tuple[Tensor, ...]:
    """Draw factors, a hue shift and their order for n images: four step_N2."""
    amounts, hue = (operation.brightness, operation.contrast, operation.saturation), operation.hue
    low = torch.tensor([max(0.0, 1 - a) for a in amounts] + [-hue])
    high = torch.tensor([1 + a for a in amounts] + [hue])
    factors_N4 = torch.lerp(low.expand(n, 4), high.expand(n, 4), torch.rand(n, 4, generator=rng))
    order_N4 = torch.rand(n, 4, generator=rng).argsort(dim=1)
    ordered_N4 = factors_N4.gather(1, order_N4)
    return tuple(torch.stack([order_N4.float(), ordered_N4], dim=2).unbind(dim=1))


def adjust(x_B3HW: Tensor, step_B2: Tensor) -> Tensor:
    """Apply to each image of a float batch in [0, 1] its own operation, by its own amount."""
    for kind, change in enumerate(_CHANGES):
        rows = (step_B2[:, 0] == kind).nonzero()[:, 0]
        if len(rows):
            amount = upload(step_B2[rows, 1], x_B3HW.device)[:, None, None, None]
            where = upload(rows, x_B3HW.device)  # numbers: a mask would make the host wait for their count
            x_B3HW[where] = change(x_B3HW[where], amount)
    return x_B3HW


def grey(x_B3HW: Tensor) -> Tensor:
    """Compute the luma, shape (B, 1, H, W)."""
    r, g, b = x_B3HW.unbind(dim=1)
    return (_LUMA[0] * r + _LUMA[1] * g + _LUMA[2] * b)[:, None]


def _brightness(x_B3HW: Tensor, factor: Tensor) -> Tensor:
    return (x_B3HW * factor).clamp(0, 1)


def _contrast(x_B3HW: Tensor, factor: Tensor) -> Tensor:
    mean = grey(x_B3HW).mean(dim=(2, 3), keepdim=True)
    return torch.lerp(mean, x_B3HW, factor).clamp(0, 1)


def _saturation(x_B3HW: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(grey(x_B3HW).expand_as(x_B3HW), x_B3HW, factor).clamp(0, 1)


def _hue(x_B3HW: Tensor, shift: Tensor) -> Tensor:
    hue, saturation, value = _rgb_to_hsv(x_B3HW)
    return _hsv_to_rgb((hue + shift[:, 0]) % 1.0, saturation, value)


def _rgb_to_hsv(x_B3HW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r, g, b = x_B3HW.unbind(dim=1)
    value, low = x_B3HW.amax(dim=1), x_B3HW.amin(dim=1)
    chroma = value - low
    safe = torch.where(chroma == 0, 1.0, chroma)
    hue = torch.where(value == r, (g - b) / safe, torch.where(value == g, (b - r) / safe + 2.0, (r - g) / safe + 4.0))
    saturation = chroma / torch.where(value == 0, 1.0, value)
    return (hue / 6.0) % 1.0, saturation, value


def _hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    # Each channel is value * (1 - saturation * w(hue)), w a trapezoid wave shifted per channel.
    channels = []
    for shift in (5.0, 3.0, 1.0):
        k = (shift + hue * 6.0) % 6.0
        channels.append(value - value * saturation * torch.minimum(k, 4.0 - k).clamp(0, 1))
    return torch.stack(channels, dim=1)


def _sharpness(x_B3HW: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image smoothed; the border stays, as in PIL and torchvision."""
    kernel = torch.ones(3, 1, 3, 3, device=x_B3HW.device)
    kernel[:, :, 1, 1] = 5.0
    smooth = x_B3HW.clone()
    smooth[:, :, 1:-1, 1:-1] = functional.conv2d(x_B3HW, kernel / 13, groups=3)
    return torch.lerp(smooth, x_B3HW, factor).clamp(0, 1)


def _posterize(x_B3HW: Tensor, bits: Tensor) -> Tensor:
    levels = 2**bits
    return torch.minimum((x_B3HW * levels).floor(), levels - 1) / levels


def _solarize(x_B3HW: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(x_B3HW >= threshold, 1 - x_B3HW, x_B3HW)


def _auto_contrast(x_B3HW: Tensor, _: Tensor) -> Tensor:
    changed: Tensor = tv.autocontrast(x_B3HW)
    return changed


def _equalize(x_B3HW: Tensor, _: Tensor) -> Tensor:
    changed: Tensor = tv.equalize(x_B3HW)
    return changed


# Colour jitter numbers the first four.
KINDS = (
    "brightness", "contrast", "saturation", "hue", "sharpness", "posterize", "solarize", "auto_contrast", "equalize",
)  # fmt: skip
_CHANGES = (
    _brightness, _contrast, _saturation, _hue, _sharpness, _posterize, _solarize, _auto_contrast, _equalize,
)  # fmt: skip
IDENTITY = -1
