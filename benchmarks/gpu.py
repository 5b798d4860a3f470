"""Measures one GPU within a time budget: `python -m benchmarks.gpu --data DIR --budget 480 --out OUT`.

DIR holds `cifar10_images.tar.xz`, or its folder `cifar10_images` with train/<class> and test/<class>. Every part writes
its figures into `OUT/gpu.json` as soon as they are known, so a run that is cut short loses one part at most. A part for
which too little of the budget is left is named as skipped. `--parts resnet18 resnet9` measures these alone, in this
order. `--device cpu` measures tiny amounts of the same.

The parts:

- agreement: numbers that must agree: CPU and device in float32, images on the host and on the device, eager and
  compiled passes, a trial in one go and one that was interrupted;
- training: images per second of fine-tuning at 224 px and of training from scratch at 32 px, and of a bare loop over
  tensors on the device;
- features: images per second of frozen features;
- resnet9: CIFAR-10 from scratch with our recipe of seconds, beside airbench's published 2.6 s (A100, the original
  images) for 94%;
- two_trials: two trials at a time;
- resnet18: CIFAR-10 from scratch with the ResNet-18.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import gpu_agreement, gpu_speed, ours, result
from benchmarks.gpu_bench import OF_DEVICE, Bench
from transferlab.core.runtime.device import Machine, apply, resolve


@dataclass(frozen=True)
class Part:
    """A part of the benchmark.

    Attributes:
        title: its key in the JSON.
        measure: returns its figures.
        share: of the budget, that must be left for it to begin.
        is_large: whether it needs images at 224 px.
    """

    title: str
    measure: Callable[[Bench], dict[str, Any]]
    share: float = 0.1
    is_large: bool = False


PARTS = {
    "agreement": Part("agreement", gpu_agreement.agreement),
    "training": Part("training", gpu_speed.training, share=0.15, is_large=True),
    "features": Part("frozen features", gpu_speed.frozen_features, is_large=True),
    "resnet9": Part("CIFAR-10 in seconds", gpu_speed.in_seconds),
    "two_trials": Part("two trials", gpu_speed.two_at_a_time),
    "resnet18": Part("CIFAR-10 from scratch", gpu_speed.from_scratch),
}


def measure(root: Path, wanted: argparse.Namespace, work: Path, used: Machine) -> dict[str, Any]:
    """Measure part after part, and write after each what is known."""
    began = time.monotonic()
    report: dict[str, Any] = {"machine": {**result.machine(), **used.describe()}, "budget": wanted.budget, "parts": {}}
    bench, parts = Bench(root, work, wanted.device, began + wanted.budget), [PARTS[name] for name in wanted.parts]
    if any(part.is_large for part in parts):
        _ = bench.large  # decoded here, so that no part's time holds it
    report["decoding"] = time.monotonic() - began
    for part in parts:
        left = wanted.budget - (time.monotonic() - began)
        if left < part.share * wanted.budget:
            report["parts"][part.title] = {"skipped": f"{left:.0f} s of the budget were left"}
        else:
            started = time.monotonic()
            found = part.measure(bench)
            report["parts"][part.title] = {**found, "took": time.monotonic() - started}
        print(part.title, json.dumps(report["parts"][part.title]), flush=True)
        wanted.out.mkdir(parents=True, exist_ok=True)
        (wanted.out / "gpu.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def main() -> None:
    """Unpack, decode and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds cifar10_images.tar.xz")
    parser.add_argument("--budget", type=float, default=480, help="seconds")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="by default all")
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
