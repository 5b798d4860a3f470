"""Transfer learning as tutorials and their readers write it: ImageFolder, DataLoader, train and val phases.

This is what the project is measured against. It is kept as such scripts are: each image is decoded and augmented anew
in each epoch, the whole network runs in each step, frozen or not, and each step waits for its loss.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

Batches = DataLoader[tuple[Tensor, Tensor]]
Loaders = dict[str, Batches]


class Epoch(NamedTuple):
    """The seconds and accuracies of an epoch."""

    seconds: float
    train_accuracy: float
    accuracy: float


def loaders(root: Path, mean: Sequence[float], std: Sequence[float], batch_size: int, workers: int) -> Loaders:
    """Batches of the folders `train` and `val`."""
    finish = [transforms.ToTensor(), transforms.Normalize(mean, std)]
    steps = {
        "train": [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), *finish],
        "val": [transforms.Resize(256), transforms.CenterCrop(224), *finish],
    }
    datasets = {phase: ImageFolder(str(root / phase), transforms.Compose(steps[phase])) for phase in steps}
    return {
        phase: DataLoader(dataset, batch_size=batch_size, shuffle=phase == "train", num_workers=workers)
        for phase, dataset in datasets.items()
    }


def script(
    network: nn.Module,
    head: nn.Module | None,
    root: Path,
    statistics: tuple[Sequence[float], Sequence[float]],
    batch_size: int,
    workers: int,
    epochs: int,
) -> Iterator[Epoch]:
    """Run a trial from the folder of photographs on, an epoch at a time.

    Args:
        network: the initial one.
        head: of the network, where it alone is to train.
        root: the folder.
        statistics: mean and standard deviation per channel.
        batch_size: of both phases.
        workers: of the loaders.
        epochs: how many.
    """
    parameters = network.parameters() if head is None else freeze(network, head)
    return trial(network, parameters, loaders(root, *statistics, batch_size, workers), rate=1e-4, epochs=epochs)


def freeze(network: nn.Module, head: nn.Module) -> list[nn.Parameter]:
    """Freeze all but the head; return the parameters left to train."""
    network.requires_grad_(False)
    return list(head.requires_grad_(True).parameters())


def trial(
    network: nn.Module, parameters: Iterable[nn.Parameter], batches: Loaders, rate: float, epochs: int
) -> Iterator[Epoch]:
    """Train with SGD and momentum, an epoch at a time."""
    optimizer = torch.optim.SGD(parameters, lr=rate, momentum=0.9)
    for _ in range(epochs):
        started = time.perf_counter()
        accuracies = {phase: _phase(phase, network, batches[phase], optimizer) for phase in ("train", "val")}
        yield Epoch(time.perf_counter() - started, accuracies["train"], accuracies["val"])


def _phase(phase: str, network: nn.Module, batches: Batches, optimizer: torch.optim.Optimizer) -> float:
    """Make one pass over a part of the images; return the accuracy."""
    device = next(network.parameters()).device
    criterion = nn.CrossEntropyLoss()
    network.train(phase == "train")
    running_loss, hits, seen = 0.0, 0, 0
    for inputs, labels in batches:
        inputs, labels = inputs.to(device), labels.to(device)
        optimizer.zero_grad()
        with torch.set_grad_enabled(phase == "train"):
            outputs = network(inputs)
            loss = criterion(outputs, labels)
            if phase == "train":
                loss.backward()
                optimizer.step()
        running_loss += loss.item() * len(labels)
        hits += int((outputs.argmax(dim=1) == labels).sum())
        seen += len(labels)
    return hits / seen
