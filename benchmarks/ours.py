"""Holds all that the benchmarks use of this project's core: from a folder of images to trained trials."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transferlab.core.data.archives.extract import extract
from transferlab.core.data.listing.config import ClassFolders
from transferlab.core.data.listing.layout import list_images
from transferlab.core.data.split.config import SplitConfig
from transferlab.core.data.split.index import assign
from transferlab.core.data.statistics import channel_statistics
from transferlab.core.data.store import largest
from transferlab.core.data.store_builder import build
from transferlab.core.launch.trials import train_trials
from transferlab.core.loading.images import Split
from transferlab.core.models import factory, freezing
from transferlab.core.models.backbones import registry
from transferlab.core.models.backbones.model import Model
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.models.forward import evaluation_batch
from transferlab.core.runtime.compute import Compute
from transferlab.core.runtime.device import Machine, apply, resolve
from transferlab.core.runtime.progress import Progress
from transferlab.core.runtime.seeding import derive
from transferlab.core.strategies.strategy import Strategy
from transferlab.core.training.spec import TrialResult, TrialSpec

__all__ = ["Compute", "Data", "Model", "Progress", "Strategy", "TrialResult", "evaluation_batch"]


@dataclass(frozen=True)
class Data:
    """Decoded images: the splits of each size that is stored, the classes, statistics of the training images."""

    splits: dict[str, dict[str, Split]]
    classes: list[str]
    statistics: dict[str, Any]

    def of(self, strategy: Strategy) -> dict[str, Split]:
        """Return the splits `train` and `test` at the size that a strategy needs."""
        return self.splits[factory.view_of(strategy.model, strategy.input, None).stored_as.key]

    @property
    def counts(self) -> tuple[int, int]:
        """Training images and held-out ones."""
        splits = next(iter(self.splits.values()))
        return len(splits["train"]), len(splits["test"])


def machine() -> Machine:
    """Choose the device, CUDA if there is one, else the CPU with all its cores, and set this process up for it."""
    return apply(resolve(Compute()))


def processor() -> str:
    """Return the name of the CPU."""
    return resolve(Compute(device="cpu")).device_name


def images(archive: Path, folder: Path, limit: int | None = None) -> Path:
    """Unpack an archive of train/<class> and val/<class>, and keep `limit` photographs of each class in each part."""
    root = unpacked(archive, folder)
    if limit is not None:
        for of_class in (*root.glob("train/*"), *root.glob("val/*")):
            for file in sorted(of_class.iterdir())[limit:]:
                file.unlink()
    return root


def unpacked(archive: Path, folder: Path) -> Path:
    """Unpack an archive of photographs and return the folder that holds `train`; a folder is returned as it is."""
    root = extract(archive, folder)
    return next(found.parent for found in sorted(root.rglob("train")) if found.is_dir())


def decode(root: Path, strategies: Sequence[Strategy], folder: Path, limit: int | None = None) -> Data:
    """Decode the images of `root` into stores below `folder`, in the sizes that the strategies need.

    `limit` keeps so many images of each class in each part.
    """
    listing, _ = list_images(root, ClassFolders())
    if limit is not None:
        listing = listing.groupby(["split", "class"]).head(limit).reset_index(drop=True)
    resizes = [factory.view_of(strategy.model, strategy.input, None).stored_as for strategy in strategies]
    with main_module_left_out():
        stores, accepted, _ = build(root, listing, resizes, folder / "stores")
    index = assign(accepted, SplitConfig())
    rows = {name: np.flatnonzero(index["split"] == name) for name in ("train", "test")}
    labels = index["label"].to_numpy()
    splits = {
        key: {name: Split(name, store, of_split, labels[of_split]) for name, of_split in rows.items()}
        for key, store in stores.items()
    }
    return Data(splits, sorted(set(index["class"])), channel_statistics(largest(stores.values()), rows["train"]))


@contextmanager
def main_module_left_out() -> Iterator[None]:
    """Keep the processes that decode from importing the benchmark, and torch with it: those of `kedro run` do not."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def initial(strategy: Strategy, data: Data, seed: int = 0) -> Checkpoint:
    """Build the network before training."""
    seed, keep = derive(seed, "trial", 0), strategy.head == "classifier"
    return factory.initial(strategy.model, strategy.input, data.classes, data.statistics, seed, keep)


def train(
    strategy: Strategy,
    data: Data,
    folder: Path,
    trials: Iterable[int] = (0,),
    seed: int = 0,
    after_epoch: Callable[[Progress], None] = lambda at: None,
    compute: Compute | None = None,
) -> list[TrialResult]:
    """Train trials of a strategy, by their numbers, with the test curve recorded.

    Args:
        strategy: what to train.
        data: on what.
        folder: features of frozen layers are kept below it.
        trials: their numbers.
        seed: of the experiment.
        after_epoch: called with the figures of every epoch of training.
        compute: on what; by default the best device there is.
    """

    def report(at: Progress) -> None:
        if at.loss is not None:
            after_epoch(at)

    splits = data.of(strategy)
    begin, compute = initial(strategy, data, seed), compute or Compute()
    specs = [
        TrialSpec("ours", strategy, begin, splits["train"], splits["test"], number, seed, compute) for number in trials
    ]
    with tempfile.TemporaryDirectory() as states:  # written as in a run, and never gone on from
        return list(train_trials(specs, folder / "features", report, Path(states)).values())


def job(root: Path, strategy: Strategy, folder: Path, trials: int) -> list[TrialResult]:
    """All that a user waits for: decode the folder, then train all trials."""
    return train(strategy, decode(root, [strategy], folder), folder, range(trials))


def epoch_seconds(result: TrialResult) -> list[float]:
    """Return how long each epoch took with its evaluation; the first is the evaluation before training."""
    of_epoch: dict[int, float] = {0: 0.0}
    for row in result.history:
        of_epoch[row.epoch] = of_epoch.get(row.epoch, 0.0) + row.seconds
    return [seconds for _, seconds in sorted(of_epoch.items())]


def accuracy(result: TrialResult, epoch: int | None = None) -> float:
    """Return the accuracy on the held-out images after an epoch, counted from 1; by default after the last."""
    curve = {row.epoch: row.accuracy for row in result.history if row.split == "test"}
    return float(curve[max(curve) if epoch is None else epoch])


def network_in_training(strategy: Strategy, data: Data) -> nn.Module:
    """Build the network on the device, in our memory format, as the strategy's first stage trains it."""
    begin = initial(strategy, data)
    model = factory.fresh(begin, 0, machine())
    freezing.apply(model, next(iter(strategy.stages.values())).trainable, begin.header.head)
    freezing.train_mode(model)
    return model


def library_network(model: Model, classes: int, size: int) -> nn.Module:
    """Build the network as its library makes it, randomly initialised."""
    family, short = registry.family_of(model.name)
    network: nn.Module = family.build(short, classes, size)
    return network


def plain_network(strategy: Strategy, data: Data, seed: int) -> tuple[nn.Module, nn.Module]:
    """Build the network as its library makes it, with the strategy's initial weights; return it and its head."""
    begin = initial(strategy, data, seed)
    size = begin.header.view.size
    model: nn.Module = library_network(strategy.model, len(data.classes), size)
    model.load_state_dict(begin.tensors)
    (head,) = begin.header.head
    return model.to(machine().device), model.get_submodule(head)


def normalisation(strategy: Strategy, data: Data) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation per channel that the network expects."""
    view = factory.view_of(strategy.model, strategy.input, data.statistics)
    return view.mean, view.std


def synchronize() -> None:
    """Wait for the device: before a clock is read."""
    machine().synchronize()


def with_weights(model: Model, folder: Path) -> Model:
    """Return the model if it names weights; else give it random ones in a file, which serve to time it.

    Without weights each trial draws its own, and frozen layers of each have to be computed.
    """
    if model.weights is not None:
        return model
    file = folder / f"{model.name.replace('/', '_')}.pth"
    torch.manual_seed(0)
    torch.save(library_network(model, 1000, 224).state_dict(), file)
    return replace(model, weights=str(file))


def imagenet_weights(model: Model) -> dict[str, Tensor]:
    """Return the pretrained tensors with all their classes, under the names of the library's own network."""
    return registry.pretrained(model, library_network(model, 1000, 224), head=(), size=224)
