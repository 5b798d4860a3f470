"""A network and the weights it begins with, as a user names them. Config reads this: it needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from transferlab.core.validation import check

MOST_STAGES = 1000


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Gives the head pooled outputs of the last stages in place of what the network's own head is given.

    Attributes:
        stages: how many stages, from the last one on.
        deviations: give it the standard deviation of each channel over space too, beside the mean.
        flips: average the outputs over the image and its mirror image (`horizontal`), the image and itself turned by
            180 degrees (`half_turn`), or the image, both mirror images and the turned one (`all`), in training and
            prediction. Null sees the image as it is.
    """

    stages: int = 4
    deviations: bool = True
    flips: Literal["horizontal", "half_turn", "all"] | None = None

    def __post_init__(self) -> None:
        in_range = 1 <= self.stages <= MOST_STAGES
        check((in_range, "stages", self.stages, f"must be from 1 to {MOST_STAGES}"))


def described(name: str, pooled: Pooled | None) -> str:
    """Name a network together with what its head is given, where that is not what its own head is given."""
    if pooled is None:
        return name
    what = f"{'means and deviations' if pooled.deviations else 'means'} of {pooled.stages} stages"
    return f"{name} with the {what}" + (f", flips: {pooled.flips}" if pooled.flips else "")


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network and the weights it begins with; `registry.check` tells whether the installed libraries have them.

    Attributes:
        name: `torchvision/<name>`, `timm/<name>`, `transferlab/convnet`, `transferlab/small_resnet`,
            `transferlab/resnet9_32px` or `transferlab/resnet18_32px`.
        weights: null trains from scratch. Else a member of the torchvision model's weights enum (`IMAGENET1K_V1`,
            `DEFAULT`), a timm tag (`in1k`), a weights file (`.pth`, `.pt`, `.ckpt`, `.bin`, `.pth.tar`,
            `.safetensors`), or `package://<package>/<file>` for a file that an installed Python package ships.
        drop_path: greatest probability with which a residual branch is left out of a training step (stochastic depth,
            Huang et al. 2016, arXiv 1603.09382); it rises from 0 at the input to this at the last block. Null leaves
            what the library gives the network.
        pooled: what the head is given of the last stages; null leaves the network's own last features.
    """

    name: str
    weights: str | None = None
    drop_path: float | None = None
    pooled: Pooled | None = None

    def __post_init__(self) -> None:
        in_range = self.drop_path is None or 0 <= self.drop_path < 1
        check((in_range, "drop_path", self.drop_path, "must be from 0 to below 1 (0.1 is common), or null"))

    @property
    def description(self) -> str:
        """Return the network's name, together with what its head is given; see `described`."""
        return described(self.name, self.pooled)
