"""How long training will take on this machine, from a few steps of the networks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

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
    """

    model: str
    size: int
    passes: int
    trained: int


def work_of(strategy: Strategy, size: int, images: int, trials: int) -> Work:
    """Return the work of a strategy whose training split has so many images; frozen layers see each view once."""
    frozen = [stage for stage in strategy.stages.values() if stage.trainable == "head"]
    passes = sum(stage.distinct_views or stage.epochs * trials for stage in frozen)
    epochs = strategy.epochs - sum(stage.epochs for stage in frozen)
    return Work(strategy.model.name, size, passes * images, epochs * trials * images)


def seconds(work: Work, classes: int, device: torch.device | None = None) -> float:
    """Estimate the seconds that some work takes: of images in memory, in float32, by default on a GPU if there is one.

    Raises:
        RuntimeError: a few steps cannot be done, such as where they need more memory than there is.
    """
    import torch  # takes seconds, for this estimate alone

    parts = ((work.passes, False), (work.trained, True))
    try:
        return sum(count * _of_an_image(work.model, classes, work.size, own, device) for count, own in parts if count)
    finally:
        torch.cuda.empty_cache()  # trials in other processes need the memory


@cache
def _of_an_image(model: str, classes: int, size: int, trains: bool, device: torch.device | None) -> float:
    import torch
    from torch.nn.functional import cross_entropy

    from transferlab.core.models.backbones.registry import build

    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = build(model, classes, size).to(device).train()
    x_B3HW = torch.rand(BATCH, 3, size, size, device=device)
    labels_B = torch.arange(BATCH, device=device) % classes

    def step() -> None:
        with torch.set_grad_enabled(trains):
            logits_BK = network(x_B3HW)
        if trains:
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
