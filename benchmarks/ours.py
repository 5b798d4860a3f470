"""All that the benchmarks use of this project's core, in one place: from a folder of images to trained trials."""

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
from transferlab.core.data.listing.layout import ClassFolders, list_images
from transferlab.core.data.split import SplitConfig, assign
from transferlab.core.data.statistics import channel_statistics
from transferlab.core.data.store import largest
from transferlab.core.data.store_builder import build
from transferlab.core.launch.trials import train_trials
from transferlab.core.loading.images import Split
from transferlab.core.models import factory, freezing
from transferlab.core.models.backbones import registry
from transferlab.core.models.backbones.registry import Model
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.models.forward import evaluation_batch
from transferlab.core.runtime.device import Compute, Machine, choose
from transferlab.core.runtime.progress import Progress
from transferlab.core.runtime.seeding import derive
from transferlab.core.strategies.strategy import Strategy
from transferlab.core.training.spec import TrialResult, TrialSpec

__all__ = ["Data", "Model", "Progress", "Strategy", "TrialResult", "evaluation_batch"]


@dataclass(frozen=True)
class Data:
    """Decoded images: the splits of each size that is stored, the classes, statistics of the training images."""

    splits: dict[str, dict[str, Split]]
    classes: list[str]
    statistics: dict[str, Any]

    def of(self, strategy: Strategy) -> dict[str, Split]:
        """The splits `train` and `test` at the size that a strategy needs."""
        return self.splits[factory.view_of(strategy.model, strategy.input, None).stored_as.key]

    @property
    def counts(self) -> tuple[int, int]:
        """Training images and held-out ones."""
        splits = next(iter(self.splits.values()))
        return len(splits["train"]), len(splits["test"])


def machine() -> Machine:
    """What everything is computed on: CUDA where it is there, else the CPU, with all its cores."""
    return choose(Compute())


def processor() -> str:
    """The name of the CPU."""
    return choose(Compute(device="cpu")).device_name


def images(archive: Path, folder: Path, limit: int | None = None) -> Path:
    """The folder of photographs in an archive of train/<class> and val/<class>, `limit` of each class in each part."""
    root = extract(archive, folder)
    root = next(found.parent for found in sorted(root.rglob("train")) if found.is_dir())
    if limit is not None:
        for of_class in (*root.glob("train/*"), *root.glob("val/*")):
            for file in sorted(of_class.iterdir())[limit:]:
                file.unlink()
    return root


def decode(root: Path, strategies: Sequence[Strategy], folder: Path) -> Data:
    """The images of a folder, decoded into stores below `folder` for the sizes that the strategies need."""
    listing, _ = list_images(root, ClassFolders())
    resizes = [factory.view_of(strategy.model, strategy.input, None).stored_as for strategy in strategies]
    with _main_module_left_out():
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
def _main_module_left_out() -> Iterator[None]:
    """Keep the processes that decode from importing the benchmark, and torch with it: those of `kedro run` do not."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def initial(strategy: Strategy, data: Data, seed: int = 0) -> Checkpoint:
    """The network before training."""
    return factory.initial(strategy.model, strategy.input, data.classes, data.statistics, derive(seed, "trial", 0))


def train(
    strategy: Strategy,
    data: Data,
    folder: Path,
    trials: Iterable[int] = (0,),
    seed: int = 0,
    after_epoch: Callable[[Progress], None] = lambda at: None,
    at_a_time: int = 1,
) -> list[TrialResult]:
    """Train trials of a strategy, by their numbers, with the test curve recorded.

    Args:
        strategy: what to train.
        data: on what.
        folder: features of frozen layers are kept below it.
        trials: their numbers.
        seed: of the experiment.
        after_epoch: called with the figures of every epoch of training.
        at_a_time: so many trials.
    """

    def report(at: Progress) -> None:
        if at.loss is not None:
            after_epoch(at)

    splits = data.of(strategy)
    begin, compute = initial(strategy.model, strategy.input, data, seed), Compute(parallel_trials=at_a_time)
    specs = [
        TrialSpec("ours", strategy, begin, splits["train"], splits["test"], number, seed, compute) for number in trials
    ]
    with tempfile.TemporaryDirectory() as states:  # written as in a run, and never gone on from
        return list(train_trials(specs, folder / "features", report, Path(states)).values())


def job(root: Path, strategy: Strategy, folder: Path, trials: int) -> list[TrialResult]:
    """All that a user waits for: decode the folder, then train all trials."""
    return train(strategy, decode(root, [strategy], folder), folder, range(trials))


def epoch_seconds(result: TrialResult) -> list[float]:
    """Of each epoch of a trial, its evaluation of the held-out images with it; before all, of the one at the start."""
    of_epoch: dict[int, float] = {0: 0.0}
    for row in result.history:
        of_epoch[row.epoch] = of_epoch.get(row.epoch, 0.0) + row.seconds
    return [seconds for _, seconds in sorted(of_epoch.items())]


def accuracy(result: TrialResult, epoch: int | None = None) -> float:
    """Of the held-out images after an epoch (from 1), or the last."""
    curve = {row.epoch: row.accuracy for row in result.history if row.split == "test"}
    return float(curve[max(curve) if epoch is None else epoch])


def network_in_training(strategy: Strategy, data: Data) -> nn.Module:
    """The network on the device, in our memory format, as the strategy's first stage trains it."""
    begin = initial(strategy.model, strategy.input, data)
    model = factory.fresh(begin, 0, machine())
    freezing.apply(model, next(iter(strategy.stages.values())).trainable, begin.header["head"])
    freezing.train_mode(model)
    return model


def plain_network(strategy: Strategy, data: Data, seed: int) -> tuple[nn.Module, nn.Module]:
    """The network as its library makes it, with the strategy's initial weights, and its head."""
    begin = initial(strategy.model, strategy.input, data, seed)
    size = begin.header["view"]["size"]
    model: nn.Module = strategy.model.family.build(strategy.model.short_name, len(data.classes), size)
    model.load_state_dict(begin.tensors)
    (head,) = begin.header["head"]
    return model.to(machine().device), model.get_submodule(head)


def normalisation(strategy: Strategy, data: Data) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation per channel that the network expects."""
    view = factory.view_of(strategy.model, strategy.input, data.statistics)
    return view.mean, view.std


def synchronize() -> None:
    """Wait for the device: before a clock is read."""
    machine().synchronize()


def with_weights(model: Model, folder: Path) -> Model:
    """The model as it is where it names weights, else with random ones in a file, for seconds and not for accuracies.

    Without weights each trial draws its own, and frozen layers of each have to be computed.
    """
    if model.weights is not None:
        return model
    file = folder / f"{model.short_name}.pth"
    torch.manual_seed(0)
    torch.save(model.family.build(model.short_name, 1000, 224).state_dict(), file)
    return replace(model, weights=str(file))


def imagenet_weights(model: Model) -> dict[str, Tensor]:
    """The pretrained tensors with all their classes, under the names of the library's own network."""
    return registry.pretrained(model, model.family.build(model.short_name, 1000, 224), head=())
