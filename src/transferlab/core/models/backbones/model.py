"""A network and the weights it begins with, as a user names them. Config reads this: it needs no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network and the weights it begins with; `registry.check` tells whether the installed libraries have them.

    Attributes:
        name: `torchvision/<name>`, `timm/<name>`, `transferlab/convnet`, `transferlab/small_resnet` or
            `transferlab/resnet18_32px`.
        weights: null trains from scratch. Else a member of the torchvision model's weights enum (`IMAGENET1K_V1`,
            `DEFAULT`), a timm tag (`in1k`), a weights file (`.pth`, `.pt`, `.ckpt`, `.bin`, `.pth.tar`,
            `.safetensors`), or `package://<package>/<file>` for a file that an installed Python package ships.
    """

    name: str
    weights: str | None = None
