"""How long training will take on this machine, from a few steps of the networks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from transferlab.core.models import freezing
from transferlab.core.models.backbones.model import Pooled
from transferlab.core.models.freezing import Policy
from transferlab.core.strategies.strategy import Strategy

if TYPE_CHECKING:
    import torch

# Steps that are measured at most, after one that is not; seconds that are enough; images in each.
STEPS, ENOUGH, BATCH = 3, 0.1, 8


@dataclass(frozen=True)
class Work:
    """What training does with a network.

    Attributes:
        model: the network's name, such as `timm/resnet18`.
        size: of its input, px.
        passes: images that go through it once, without gradients.
        trained: images that it is trained on, over all epochs and trials.
        tuned: images that are trained on from kept outputs of frozen layers on, each with what freezes these.
        pooled: what the head is given of the last stages.
    """

    model: str
    size: int
    passes: int
    trained: int
    tuned: tuple[tuple[Policy, int], ...] = ()
    pooled: Pooled | None = None


def work_of(strategy: Strategy, size: int, images: int, trials: int) -> Work:
    """Return the work of a strategy whose training split has so many images; frozen layers see each view once."""
    passes, trained, tuned = 0, 0, []
    for stage in strategy.stages.values():
        seen = stage.epochs * trials * images
        if stage.trainable == "head":
            passes += stage.distinct_views * images if stage.distinct_views else seen
        elif stage.trainable != "all" and stage.distinct_views:
            passes += stage.distinct_views * images
            tuned.append((stage.trainable, seen))
        else:
            trained += seen
    return Work(strategy.model.name, size, passes, trained, tuple(tuned), strategy.model.pooled)


def seconds(work: Work, classes: int, device: torch.device | None = None) -> float:
    """Estimate the seconds that some work takes: of images in memory, in float32, by default on a GPU if there is one.

    Raises:
        RuntimeError: a few steps cannot be done, such as where they need more memory than there is.
    """
    import torch  # takes seconds, for this estimate alone

    parts: list[tuple[Policy | None, int]] = [(None, work.passes), ("all", work.trained), *work.tuned]
    try:
        return sum(
            count * _of_an_image(work.model, work.pooled, classes, work.size, policy, device)
            for policy, count in parts
            if count
        )
    finally:
        torch.cuda.empty_cache()  # trials in other processes need the memory


@cache
def _of_an_image(
    model: str, pooled: Pooled | None, classes: int, size: int, policy: Policy | None, device: torch.device | None
) -> float:
    """Return the seconds of a training step for an image, after the layers that the policy freezes; None: of a pass."""
    import torch
    from torch.nn.functional import cross_entropy

    from transferlab.core.models.backbones.registry import build, heads
    from transferlab.core.models.prefix import cut

    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network, x_BF = build(model, classes, size, pooled=pooled), torch.rand(BATCH, 3, size, size)
    if policy not in (None, "all"):
        freezing.apply(network, policy, heads(model, size, pooled))
        if at := cut(network, x_BF[:1]):
            network, x_BF = at.tail, torch.rand(BATCH, *at.shape)
    network, x_BF = network.to(device).train(), x_BF.to(device)
    labels_B = torch.arange(BATCH, device=device) % classes

    def step() -> None:
        with torch.set_grad_enabled(policy is not None):
            logits_BK = network(x_BF)
        if policy is not None:
            torch.autograd.backward(cross_entropy(logits_BK, labels_B))
        logits_BK[0, 0].item()  # waits for the device

    def timed() -> float:
        began = perf_counter()
        step()
        return perf_counter() - began

    step()
    times = [timed()]
    while len(times) < STEPS and sum(times) < ENOUGH:
        times.append(timed())
    return median(times) / BATCH
