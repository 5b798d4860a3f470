"""Changes the colours of a batch by arithmetic in RGB, values in [0, 1], as torchvision's `functional.adjust_*` do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from transferlab.core.runtime.device import upload
from transferlab.core.validation import check

# ITU-R 601-2 luma, the weights PIL and torchvision use for grey.
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, kw_only=True)
class ColorJitter:
    """Changes brightness, contrast, saturation and hue at random, in a random order: torchvision's `ColorJitter`.

    Attributes:
        brightness: factor drawn from [max(0, 1 - b), 1 + b]; contrast and saturation likewise.
        contrast: see brightness; blends with the mean grey of the image.
        saturation: see brightness; blends with the image in grey.
        hue: shift drawn from [-h, h], in turns of the colour circle; at most 0.5.
    """

    name: Literal["color_jitter"] = "color_jitter"
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        amounts = {"brightness": self.brightness, "contrast": self.contrast, "saturation": self.saturation}
        check(
            *((value >= 0, key, value, "must be at least 0") for key, value in amounts.items()),
            (0 <= self.hue <= 0.5, "hue", self.hue, "must be between 0 and 0.5"),
            (any(amounts.values()) or self.hue > 0, "brightness", 0.0, "and the others are all 0: changes nothing"),
        )

    def table(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw (brightness, contrast, saturation factors, hue shift, and the place of each in the order): (N, 8)."""
        low = torch.tensor([max(0.0, 1 - a) for a in (self.brightness, self.contrast, self.saturation)] + [-self.hue])
        high = torch.tensor([1 + a for a in (self.brightness, self.contrast, self.saturation)] + [self.hue])
        factors_N4 = torch.lerp(low.expand(n, 4), high.expand(n, 4), torch.rand(n, 4, generator=rng))
        order_N4 = torch.rand(n, 4, generator=rng).argsort(dim=1)
        return torch.cat([factors_N4, order_N4.float()], dim=1)


def jitter(x_B3HW: Tensor, table_B8: Tensor) -> Tensor:
    """Apply a drawn table (see `ColorJitter.table`) to a float batch in [0, 1]: each image in its own order."""
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
