"""Mixes each image with another one: mixup (Zhang et al. 2018, arXiv 1710.09412), CutMix (Yun et al. 2019, 1905.04899).

As for augmentation, the parameters of all images of a split are drawn at once, a row per image. torchvision's `MixUp`
and `CutMix` and timm's `Mixup` draw one share for a whole batch, from global generators.

Shapes: N images of a split, B of a batch, S px of the square.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from transferlab.core.runtime.device import upload
from transferlab.core.runtime.seeding import derive, generator
from transferlab.core.transforms.erase import inside


@dataclass(frozen=True)
class Mixture:
    """Holds the drawn parameters of images, float32.

    Attributes:
        opacity: (N,) what an image keeps of its own in every pixel outside its box.
        box: (N, 4) what its partner shows through whole: top, left, bottom, right in px.
        share: (N,) the part of the target that is the image's own label.
    """

    opacity: Tensor
    box: Tensor
    share: Tensor

    def take(self, rows: Tensor) -> Mixture:
        """Return the parameters of some images."""
        return Mixture(self.opacity[rows], self.box[rows], self.share[rows])


def draw(n: int, size: int, mixup: float | None, cutmix: float | None, *key: int | str) -> Mixture:
    """Draw how each of n images is mixed, from the key alone; if both kinds are wanted, each image gets one of them.

    Args:
        n: how many.
        size: px of their side.
        mixup: both parameters of the Beta distribution of the image's share; None mixes no pixels.
        cutmix: likewise of the area that the image keeps; None pastes no boxes.
        key: of the draw.
    """
    rng = generator(*key)
    is_cut = torch.rand(n, generator=rng) < 0.5 if mixup and cutmix else torch.full((n,), bool(cutmix))
    share = torch.where(is_cut, _beta(cutmix, n, *key, "cutmix"), _beta(mixup, n, *key, "mixup"))
    side = size * (1 - share).sqrt()
    centre_N2 = torch.randint(size, (n, 2), generator=rng)
    half_N1 = (side / 2).floor()[:, None]
    box = torch.cat([centre_N2 - half_N1, centre_N2 + half_N1], dim=1).clamp(0, size) * is_cut[:, None]
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    opacity = torch.where(is_cut, 1.0, share)
    return Mixture(opacity, box, torch.where(is_cut, 1 - area / size**2, share))


def _beta(alpha: float | None, n: int, *key: int | str) -> Tensor:
    """Draw from Beta(alpha, alpha), (n,); ones if there is no alpha."""
    if alpha is None:
        return torch.ones(n)
    return torch.from_numpy(np.random.default_rng(derive(*key)).beta(alpha, alpha, n)).float()


def mix(x_B3SS: Tensor, partner_B3SS: Tensor, drawn_B: Mixture) -> Tensor:
    """Mix each image with its partner, as drawn."""
    opacity_B111 = upload(drawn_B.opacity, x_B3SS.device)[:, None, None, None]
    in_box_B1SS = inside(drawn_B.box, x_B3SS)
    return torch.where(in_box_B1SS, partner_B3SS, torch.lerp(partner_B3SS, x_B3SS, opacity_B111))
