"""Measures images per second and seconds to an accuracy on a GPU: parts of `benchmarks.gpu`."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

import torch
from torch.nn import functional

from benchmarks import ours
from benchmarks.gpu_bench import SMALL, Bench, fast, large, scratch
from transferlab.core.models import factory
from transferlab.core.runtime.device import resolve
from transferlab.core.runtime.progress import Progress
from transferlab.core.strategies.strategy import Strategy


class OutOfTimeError(Exception):
    """Stops a training when the budget is used up."""


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
