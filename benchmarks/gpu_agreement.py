"""Compares numbers that must agree on a GPU: a part of `benchmarks.gpu`."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks import ours
from benchmarks.gpu_bench import Bench, scratch
from transferlab.core.loading import gpu_cache
from transferlab.core.runtime.progress import Progress
from transferlab.core.strategies.optimizers import SGD
from transferlab.core.strategies.strategy import Strategy
from transferlab.core.training.spec import TrialResult


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
