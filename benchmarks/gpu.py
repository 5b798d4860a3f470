"""Measures one GPU within a time budget: `python -m benchmarks.gpu --data DIR --budget 480 --out OUT`.

DIR holds `cifar10_images.tar.xz`, or its folder `cifar10_images` with train/<class> and test/<class>. Every part writes
its figures into `OUT/gpu.json` as soon as they are known, so a run that is cut short loses one part at most. A part for
which too little of the budget is left is named as skipped. `--device cpu` measures tiny amounts of the same.

The parts: (1) numbers that must agree: CPU and device in float32, images on the host and on the device, eager and
compiled passes, a trial in one go and one that was interrupted; (2) images per second of fine-tuning at 224 px and of
training from scratch at 32 px, and of a bare loop over tensors on the device; (3) images per second of frozen features;
(4) CIFAR-10 from scratch with our recipe of seconds, beside airbench's published 2.6 s (A100, the original images) for
94%; (5) two trials at a time; (6) CIFAR-10 from scratch with the ResNet-18.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import torch
from torch.nn import functional

from benchmarks import ours, recipes, result
from transferlab.core.launch.trials import train_trials
from transferlab.core.loading import gpu_cache
from transferlab.core.loading.images import Split
from transferlab.core.models import factory
from transferlab.core.runtime.device import Machine, apply, resolve
from transferlab.core.runtime.progress import Progress
from transferlab.core.strategies.optimizers import SGD
from transferlab.core.strategies.schedules import OneCycle
from transferlab.core.strategies.strategy import Stage, Strategy
from transferlab.core.training.spec import TrialResult, TrialSpec
from transferlab.core.transforms.input import Input
from transferlab.core.transforms.operations import Cutout, RandomCrop, RandomFlip

SMALL, LARGE = Input(size=32, resize=32), Input(size=224, resize=224)
AUGMENTATION = (RandomCrop(padding=4, padding_mode="reflect"), RandomFlip(), Cutout(size=8))


@dataclass(frozen=True)
class Amounts:
    """Says how much is measured.

    Attributes:
        few: images of the parts that compare numbers.
        images: for training from scratch; None trains on all.
        epochs: of training from scratch.
        fast_epochs: of the recipe of seconds.
        large: images at 224 px.
        batch: of images at 224 px.
        networks: that are fine-tuned.
        steps: of the bare loop.
    """

    few: int = 512
    images: int | None = None
    epochs: int = 30
    fast_epochs: int = 16
    large: int = 4096
    batch: int = 128
    networks: tuple[str, ...] = ("resnet18", "resnet50")
    steps: int = 50


OF_DEVICE = {
    "cuda": Amounts(),
    "cpu": Amounts(few=32, images=32, epochs=1, fast_epochs=1, large=8, batch=4, networks=("resnet18",), steps=2),
}


class OutOfTimeError(Exception):
    """Stops a training when the budget is used up."""


class Bench:
    """Holds what all parts use: decoded images, the device, how much is measured, and when time is up."""

    def __init__(self, root: Path, work: Path, device: Literal["cuda", "cpu"], deadline: float) -> None:
        self.deadline = deadline
        self.work, self.device, self.amounts = work, device, OF_DEVICE[device]
        self.small = ours.decode(root, [scratch(1)], work / "small")
        of_class = -(-self.amounts.large // len(self.small.classes))
        self.large = ours.decode(root, [replace(scratch(1), input=LARGE)], work / "large", of_class)
        self.folders = 0

    @property
    def compute(self) -> ours.Compute:
        """What is measured on."""
        return ours.Compute(device=self.device)

    def of(self, strategy: Strategy) -> ours.Data:
        """Return the images at the size that a strategy needs."""
        return self.large if strategy.input == LARGE else self.small

    def train(
        self, strategy: Strategy, images: int | None, compute: ours.Compute, states: Path | None = None, **more: Any
    ) -> list[TrialResult]:
        """Train trials of a strategy on evenly spaced images of each split.

        Args:
            strategy: what to train.
            images: how many of each split; None takes all.
            compute: on what.
            states: where states are kept; None keeps none.
            more: `trials`, their number, and `report`, called with their progress.
        """
        data = self.of(strategy)
        train, test = (some(data.of(strategy)[name], images) for name in ("train", "test"))
        begin = ours.initial(strategy, data)
        specs = [
            TrialSpec("gpu", strategy, begin, train, test, number, 0, compute)
            for number in range(more.get("trials", 1))
        ]
        self.folders += 1  # features of one measurement are not another's
        report = more.get("report", lambda at: None)
        return list(train_trials(specs, self.work / f"features_{self.folders}", report, states).values())


def scratch(epochs: int, network: str = "resnet18_32px") -> Strategy:
    """Return the recipe `scratch_one_cycle` of the experiment cifar10_scratch."""
    return of_scratch(network, epochs, batch_size=128, rate=0.1)


def fast(epochs: int) -> Strategy:
    """Return the recipe `scratch_in_seconds` of the experiment cifar10_scratch."""
    return of_scratch("resnet9_32px", epochs, batch_size=512, rate=0.4)


def of_scratch(network: str, epochs: int, batch_size: int, rate: float) -> Strategy:
    """Describe training from scratch in one cycle."""
    stage = Stage(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=SGD(lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4),
        schedule=OneCycle(momentum_range=None),
        label_smoothing=0.1,
        augmentation=AUGMENTATION,
    )
    return Strategy(model=ours.Model(name=f"transferlab/{network}"), input=SMALL, stages={"train": stage})


def some(split: Split, count: int | None) -> Split:
    """Return evenly spaced images of a split, so that every class is among them."""
    if count is None or count >= len(split):
        return split
    at = torch.linspace(0, len(split) - 1, count).long().numpy()
    return replace(split, rows=split.rows[at], labels=split.labels[at])


# ---- the parts -------------------------------------------------------------------------------------------------------
def agreement(bench: Bench) -> dict[str, Any]:
    """Compare numbers that must agree."""
    # No dropout, whose masks differ between devices.
    plain = scratch(2, "small_resnet")
    stage = replace(plain.stages["train"], batch_size=16, optimizer=SGD(lr=0.001))
    strategy, count = replace(plain, stages={"train": stage}), bench.amounts.few
    exact = replace(bench.compute, precision="float32", compile=False)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with patch.object(gpu_cache, "pays", return_value=False):
            (on_host,) = bench.train(strategy, count, exact)
        (on_device,) = bench.train(strategy, count, exact)
        (on_cpu,) = bench.train(strategy, count, replace(exact, device="cpu"))
        (on_one_thread,) = bench.train(strategy, count, replace(exact, device="cpu", threads=1))
        resumed = interrupted(bench, strategy, count, exact)
    finally:
        torch.use_deterministic_algorithms(False)
    found: dict[str, Any] = {
        "losses, CPU and device": difference(on_cpu, on_device),
        "losses, CPU and one thread of it": difference(on_cpu, on_one_thread),
        "same bits from the host's memory and the device's": same(on_host, on_device),
        "same bits after an interruption": same(on_device, resumed),
    }
    if bench.device == "cuda":
        (compiled,) = bench.train(strategy, count, replace(exact, compile=True))
        found["losses, eager and compiled"] = difference(compiled, on_device)
    return found


def interrupted(bench: Bench, strategy: Strategy, count: int, compute: ours.Compute) -> TrialResult:
    """Train a trial that is interrupted after its first epoch, and go on with it."""

    def stop(at: Progress) -> None:
        if at.epoch == 2:
            raise KeyboardInterrupt

    with tempfile.TemporaryDirectory(dir=bench.work) as folder:
        try:
            bench.train(strategy, count, compute, Path(folder), report=stop)
        except KeyboardInterrupt:
            (result_of_rest,) = bench.train(strategy, count, compute, Path(folder))
            return result_of_rest
    raise RuntimeError("the trial was not interrupted")


def difference(one: TrialResult, other: TrialResult) -> dict[str, float]:
    """Return how far two trials' losses are from each other: at the first step, and at most in the first 8 and in all.

    Training amplifies the rounding of its first step, so that only the first says how exact a pass is.
    """
    apart = [abs(a.loss - b.loss) for a, b in zip(one.steps, other.steps, strict=True)]
    return {"first step": apart[0], "first 8 steps": max(apart[:8]), "all steps": max(apart)}


def same(one: TrialResult, other: TrialResult) -> bool:
    """Return whether two trials ended with the same bits."""
    return all(torch.equal(t, other.checkpoint.tensors[name]) for name, t in one.checkpoint.tensors.items())


def from_scratch(bench: Bench) -> dict[str, Any]:
    """Train CIFAR-10 from scratch with the ResNet-18 and its recipe."""
    return curve_of(scratch(bench.amounts.epochs), bench)


def in_seconds(bench: Bench) -> dict[str, Any]:
    """Train CIFAR-10 from scratch with the recipe of seconds, the second time on a device that is warm."""
    strategy = fast(bench.amounts.fast_epochs)
    return {"first": curve_of(strategy, bench), "again": curve_of(strategy, bench)}


def curve_of(strategy: Strategy, bench: Bench) -> dict[str, Any]:
    """Train one trial on all images; the curve tells the seconds to each accuracy, evaluations included."""
    curve: list[dict[str, float]] = []
    started = time.perf_counter()

    def look(at: Progress) -> None:
        if at.loss is not None:
            seconds = time.perf_counter() - started
            curve.append({"epoch": at.epoch, "seconds": seconds, "accuracy": at.held_out_accuracy or 0.0})
        if time.monotonic() > bench.deadline:
            raise OutOfTimeError

    try:
        (trial,) = bench.train(strategy, bench.amounts.images, bench.compute, report=look)
    except OutOfTimeError:
        return {"cut": "the budget was used up", "curve": curve}
    reached = next((point["seconds"] for point in curve if point["accuracy"] >= 0.94), None)
    return {
        "seconds": time.perf_counter() - started,
        "seconds to 94%": reached,
        "accuracy": ours.accuracy(trial),
        "curve": curve,
        "cost": asdict(trial.cost),
    }


def training(bench: Bench) -> dict[str, Any]:
    """Measure images per second of training, and of a bare loop over tensors on the device."""
    found = {name: beside_bare_loop(large(name, bench, "all", 3), bench) for name in bench.amounts.networks}
    return {**found, "resnet9_32px": beside_bare_loop(fast(3), bench)}


def beside_bare_loop(strategy: Strategy, bench: Bench) -> dict[str, float]:
    """Train three epochs, then run the bare loop, eager and compiled."""
    count = bench.amounts.large
    (trial,) = bench.train(strategy, count, replace(bench.compute, compile=False))
    trained = [row.seconds for row in trial.history if row.split == "train"][1:]  # the first one warms up
    found = {"ours": count / min(trained), "bare loop": bare_images_per_second(strategy, bench)}
    found["ratio"] = found["ours"] / found["bare loop"]
    if bench.device == "cuda":
        found["bare loop, compiled"] = bare_images_per_second(strategy, bench, compiled=True)
    return found


def large(name: str, bench: Bench, trainable: str, epochs: int) -> Strategy:
    """Return a strategy at 224 px, with random weights: they serve for seconds, not for accuracies."""
    model = ours.with_weights(ours.Model(name=f"torchvision/{name}"), bench.work)
    stage = Stage(
        epochs=epochs,
        batch_size=bench.amounts.batch,
        optimizer=SGD(lr=1e-4),
        trainable=trainable,
        augmentation=recipes.AUGMENTATION,
        views=None if trainable == "all" else 1,
    )
    return Strategy(model=model, input=LARGE, stages={"train": stage})


def bare_images_per_second(strategy: Strategy, bench: Bench, compiled: bool = False) -> float:
    """Time forward, loss, backward and step over one batch of random numbers."""
    used, steps, (stage,) = resolve(bench.compute), bench.amounts.steps, strategy.stages.values()
    data, size = bench.of(strategy), 32 if strategy.input == SMALL else 224
    network = factory.fresh(ours.initial(strategy, data), 0, used).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4)
    running = torch.compile(network) if compiled else network
    batch = min(stage.batch_size, bench.amounts.large)
    x_B = torch.rand(batch, 3, size, size, device=used.device).to(memory_format=used.memory_format)
    y_B = torch.zeros(batch, dtype=torch.int64, device=used.device)
    started = 0.0
    for step in range(steps + 3):
        if step == 3:  # those before warm up
            used.synchronize()
            started = time.perf_counter()
        with used.autocast():
            loss = functional.cross_entropy(running(x_B), y_B)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    used.synchronize()
    return batch * steps / (time.perf_counter() - started)


def frozen_features(bench: Bench) -> dict[str, Any]:
    """Measure images per second through frozen layers, held-out images included."""
    found = {}
    for name in bench.amounts.networks:
        strategy = large(name, bench, "head", epochs=1)
        (trial,) = bench.train(strategy, bench.amounts.large, bench.compute)
        splits = bench.of(strategy).of(strategy)
        count = sum(min(len(splits[part]), bench.amounts.large) for part in ("train", "test"))
        found[name] = count / trial.cost.feature_seconds
    return found


def two_at_a_time(bench: Bench) -> dict[str, Any]:
    """Train two trials one after the other, then two at a time; both on the same device."""
    seconds = {}
    for name, at_a_time in (("one after the other", 1), ("two at a time", 2)):
        started = time.perf_counter()
        compute = replace(bench.compute, parallel_trials=at_a_time)
        bench.train(fast(min(4, bench.amounts.fast_epochs)), bench.amounts.images, compute, trials=2)
        seconds[name] = time.perf_counter() - started
    return seconds


PARTS: dict[str, tuple[Callable[[Bench], dict[str, Any]], float]] = {  # and the part of the budget that it needs
    "agreement": (agreement, 0.1),
    "training": (training, 0.15),
    "frozen features": (frozen_features, 0.1),
    "CIFAR-10 in seconds": (in_seconds, 0.1),
    "two trials": (two_at_a_time, 0.1),
    "CIFAR-10 from scratch": (from_scratch, 0.1),
}


def measure(root: Path, wanted: argparse.Namespace, work: Path, used: Machine) -> dict[str, Any]:
    """Measure part after part, and write after each what is known."""
    began = time.monotonic()
    report: dict[str, Any] = {"machine": {**result.machine(), **used.describe()}, "budget": wanted.budget, "parts": {}}
    bench = Bench(root, work, wanted.device, began + wanted.budget)
    report["decoding"] = time.monotonic() - began
    for name, (part, share) in PARTS.items():
        left = wanted.budget - (time.monotonic() - began)
        if left < share * wanted.budget:
            report["parts"][name] = {"skipped": f"{left:.0f} s of the budget were left"}
        else:
            started = time.monotonic()
            found = part(bench)
            report["parts"][name] = {**found, "took": time.monotonic() - started}
        print(name, json.dumps(report["parts"][name]), flush=True)
        wanted.out.mkdir(parents=True, exist_ok=True)
        (wanted.out / "gpu.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def main() -> None:
    """Unpack, decode and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds cifar10_images.tar.xz")
    parser.add_argument("--budget", type=float, default=480, help="seconds")
    parser.add_argument("--device", choices=list(OF_DEVICE), default="cuda")
    parser.add_argument("--out", type=Path, default=result.RESULTS, help="the folder for gpu.json")
    wanted = parser.parse_args()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic sums on CUDA need it
    used = apply(resolve(ours.Compute(device=wanted.device)))
    found = [path for name in ("cifar10_images", "cifar10_images.tar.xz") if (path := wanted.data / name).exists()]
    if not found:
        parser.error(f"{wanted.data} holds no cifar10_images.tar.xz")
    with tempfile.TemporaryDirectory() as folder:
        root = ours.unpacked(found[0], Path(folder) / "images")
        measure(root, wanted, Path(folder), used)


if __name__ == "__main__":
    main()
