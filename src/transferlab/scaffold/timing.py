"""How long an experiment will take on this machine, from a few steps of its networks."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

# Steps that are measured, after one that is not; images in each.
STEPS, BATCH = 2, 8


@dataclass(frozen=True)
class Work:
    """What an experiment does with a network.

    Attributes:
        model: the network's name, such as `timm/resnet18`.
        passes: images that go through it once, without gradients.
        trained: images that it is trained on, over all epochs and trials.
    """

    model: str
    passes: int
    trained: int


def seconds(works: list[Work], classes: int, size: int) -> float:
    """Estimate the seconds that some work takes: of images in memory, in float32, on the device that is here.

    Args:
        works: networks with what they do.
        classes: of the experiment.
        size: of the input, px.
    """
    import torch  # takes seconds, for this estimate alone
    from torch.nn.functional import cross_entropy

    from transferlab.core.models.backbones.registry import build

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    labels_B = torch.arange(BATCH, device=device) % classes
    total = 0.0
    for work in works:
        network = build(work.model, classes, size).to(device).train()
        x_B3HW = torch.rand(BATCH, 3, size, size, device=device)

        def step(trains: bool, network: torch.nn.Module = network, x_B3HW: torch.Tensor = x_B3HW) -> None:
            with torch.set_grad_enabled(trains):
                logits_BK = network(x_B3HW)
            if trains:
                torch.autograd.backward(cross_entropy(logits_BK, labels_B))
            logits_BK[0, 0].item()  # waits for the device

        for count, trains in ((work.passes, False), (work.trained, True)):
            if count:
                step(trains)
                began = perf_counter()
                for _ in range(STEPS):
                    step(trains)
                total += count * (perf_counter() - began) / (STEPS * BATCH)
    return total
