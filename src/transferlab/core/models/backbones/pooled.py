"""Networks whose head is given pooled outputs of the last stages, not of the last layer alone.

The last layers of a pretrained network know the classes of its pretraining; the stages before them know more of other
images. A linear head on intermediate outputs is what Evci et al. 2022, "Head2Toe: Utilizing Intermediate
Representations for Better Transfer Learning" (ICML, arXiv 2201.03529) train, of all layers. Here it is of the last
stages, with the deviations over space beside the means.

Outputs can be averaged over flips of the image: features that do not change when a thing is turned that has no up or
down, in training and in prediction alike.

Shapes: B images of a batch, N of a split, F pooled features, C channels of a stage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from transferlab.core.models.backbones.model import Pooled
from transferlab.core.models.layers import stages

NETWORK = "pooled.network."  # before the names of the network's own parameters
_HEIGHT, _WIDTH = 2, 3
_FLIPPED: dict[str | None, tuple[tuple[int, ...], ...]] = {  # the axes that each sight of an image is flipped along
    None: ((),),
    "horizontal": ((), (_WIDTH,)),
    "half_turn": ((), (_HEIGHT, _WIDTH)),
    "all": ((), (_WIDTH,), (_HEIGHT,), (_HEIGHT, _WIDTH)),
}
_SPACE = {1: (2, 3), 2: (1,), 3: (1, 2)}  # by the axis of channels: of maps, tokens, and maps with channels last
_LEAST_VARIANCE = 1e-6  # of a channel over space: a map of one pixel has a deviation, and a gradient
_LEAST_DEVIATION = 1e-6  # of a feature over images: below it the feature is constant


class Tap(NamedTuple):
    """A stage whose outputs are pooled.

    Attributes:
        stage: path of its module.
        axis: of its output that counts channels.
        channels: C.
    """

    stage: str
    axis: int
    channels: int


class OnStages(nn.Module):
    """A network with a linear head on the pooled, standardized outputs of some of its stages.

    Args:
        network: what it is made of; its own head no longer has layers.
        taps: its stages.
        how: they are pooled.
        classes: how many.
    """

    def __init__(self, network: nn.Module, taps: Sequence[Tap], how: Pooled, classes: int) -> None:
        super().__init__()
        width = sum(tap.channels for tap in taps) * (1 + how.deviations)
        self.pooled = PooledStages(network, taps, how)
        self.standardized = Standardize(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the logits (B, classes)."""
        logits: Tensor = self.head(self.standardized(self.pooled(x_BCHW)))
        return logits


class PooledStages(nn.Module):
    """Runs a network, and returns what its stages make, pooled."""

    def __init__(self, network: nn.Module, taps: Sequence[Tap], how: Pooled) -> None:
        super().__init__()
        self.network, self._taps, self._deviations = network, tuple(taps), how.deviations
        self._flipped = _FLIPPED[how.flips]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the features (B, F), float32, stage by stage: the means of all channels, then their deviations."""
        seen = torch.cat([x_BCHW.flip(axes) if axes else x_BCHW for axes in self._flipped])
        with _outputs(self.network, [tap.stage for tap in self._taps]) as found:
            self.network(seen)
        x = torch.cat([part for tap in self._taps for part in self._moments(found[tap.stage], tap.axis)], dim=1)
        return x.reshape(len(self._flipped), -1, x.shape[1]).mean(dim=0)

    def _moments(self, x: Tensor, axis: int) -> Iterator[Tensor]:
        x, space = x.float(), _SPACE[axis]
        yield x.mean(dim=space)
        if self._deviations:
            yield (x.var(dim=space, correction=0) + _LEAST_VARIANCE).sqrt()


class Standardize(nn.Module):
    """Shifts and scales features by constants, which are set once, from training images.

    A linear head trains well on features of one scale only, and stages differ in theirs.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    def forward(self, x_BF: Tensor) -> Tensor:
        """Return the features in deviations from their means."""
        return (x_BF - self.mean) / self.deviation

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Set the constants so that these features (B, F) have mean 0 and deviation 1; constant ones get 0."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for batch_BF in batches:
            x_BF = batch_BF.double().cpu()
            count, total, squares = count + len(x_BF), total + x_BF.sum(dim=0), squares + x_BF.square().sum(dim=0)
        mean_F = total / count
        deviation_F = (squares / count - mean_F.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean_F)
        self.deviation.copy_(torch.where(deviation_F > _LEAST_DEVIATION, deviation_F, 1.0))


def last_stages(network: nn.Module, x_BCHW: Tensor, count: int) -> tuple[Tap, ...]:
    """Find the last stages of a network, and what they make.

    Args:
        network: whole, with its own head.
        x_BCHW: an input, square; a network on torch's meta device takes one there.
        count: of stages.

    Raises:
        ValueError: there are fewer stages, or they do not make maps or tokens.
    """
    names = stages(network)
    if len(names) < count:
        found = f"only {len(names)} stages ({', '.join(names)})" if names else "no stages that can be found"
        raise ValueError(f"has {found}")
    with torch.no_grad(), _outputs(network.eval(), names[-count:]) as outputs:
        network(x_BCHW)
    shapes = {name: _shape(name, outputs.get(name)) for name in names[-count:]}
    axis = _axis_of_maps([shape for shape in shapes.values() if len(shape) == 4])
    taps = [(name, axis if len(shape) == 4 else 2, shape) for name, shape in shapes.items()]
    return tuple(Tap(name, axis, shape[axis]) for name, axis, shape in taps)


def on_stages(network: nn.Module, head: Sequence[str], taps: Sequence[Tap], how: Pooled, classes: int) -> OnStages:
    """Put a head on some stages of a network in place of its own, whose modules are named."""
    for module in head:
        network.set_submodule(module, nn.Identity())
    return OnStages(network, taps, how, classes)


def _shape(name: str, output: Any) -> tuple[int, ...]:
    """Return the shape of a stage's output.

    Raises:
        ValueError: it is neither tokens (B, N, C) nor maps.
    """
    if not isinstance(output, Tensor) or output.ndim not in (3, 4):
        found = f"an output of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"makes {found} in its stage {name}, which is neither maps nor tokens")
    return tuple(output.shape)


def _axis_of_maps(shapes: Iterable[tuple[int, ...]]) -> int:
    """Tell the axis of the channels: maps of a square image are square, (B, C, H, H) or (B, H, H, C)."""
    last = [shape[1] == shape[2] for shape in shapes if len(set(shape[1:])) > 1]  # an undecided one is as the others
    return 3 if last and all(last) else 1


@contextmanager
def _outputs(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Gather what some layers make while open, by their names."""
    found: dict[str, Any] = {}

    def gather(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        found[name] = output

    handles = [network.get_submodule(name).register_forward_hook(partial(gather, name)) for name in layers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
