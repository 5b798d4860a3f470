"""Changes the colours of a batch by arithmetic in RGB, values in [0, 1], as torchvision's `functional.adjust_*` do."""

from __future__ import annotations

import torch
from torch import Tensor

from transferlab.core.runtime.device import upload
from transferlab.core.transforms.operations import ColorJitter

# ITU-R 601-2 luma, the weights PIL and torchvision use for grey.
_LUMA = (0.299, 0.587, 0.114)


def table(operation: ColorJitter, n: int, rng: torch.Generator) -> Tensor:
    """Draw (brightness, contrast, saturation factors, hue shift, and the place of each in the order): (N, 8)."""
    amounts, hue = (operation.brightness, operation.contrast, operation.saturation), operation.hue
    low = torch.tensor([max(0.0, 1 - a) for a in amounts] + [-hue])
    high = torch.tensor([1 + a for a in amounts] + [hue])
    factors_N4 = torch.lerp(low.expand(n, 4), high.expand(n, 4), torch.rand(n, 4, generator=rng))
    order_N4 = torch.rand(n, 4, generator=rng).argsort(dim=1)
    return torch.cat([factors_N4, order_N4.float()], dim=1)


def jitter(x_B3HW: Tensor, table_B8: Tensor) -> Tensor:
    """Apply a drawn table (see `table`) to a float batch in [0, 1]: each image in its own order."""
    factors_B4, order_B4 = table_B8[:, :4], table_B8[:, 4:].long()
    for place in range(4):
        for kind, adjust in enumerate((_brightness, _contrast, _saturation, _hue)):
            rows = (order_B4[:, place] == kind).nonzero()[:, 0]
            if len(rows):
                factor = upload(factors_B4[rows, kind], x_B3HW.device)[:, None, None, None]
                where = upload(rows, x_B3HW.device)  # numbers: a mask would make the host wait for their count
                x_B3HW[where] = adjust(x_B3HW[where], factor)
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
