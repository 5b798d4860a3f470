"""What to compute on, as a user configures it; `device` finds it. Config reads this: it needs no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from transferlab.core.validation import check

DeviceName = Literal["auto", "cuda", "mps", "cpu"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Launcher = Literal["processes", "ray"]
Compile = Literal["auto"] | bool

_ADDRESS = re.compile(r"local|auto|(ray://)?[^\s:/]+:\d+")


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Says what to compute on, as a user configures it.

    Attributes:
        device: `auto` takes CUDA, then MPS, then the CPU.
        precision: of the forward passes. `auto` is mixed precision on CUDA (bfloat16 where the chip has it, else
            float16 with loss scaling), bfloat16 on a CPU that has units for it (Intel's AMX) but for heads that are
            linear layers alone, and float32 elsewhere.
        threads: CPU threads of a process. Null keeps torch's own choice; with `parallel_trials`, each trial gets an
            equal share of it. The same number of threads gives the same bits.
        devices: how many GPUs (on a CPU: processes) train one trial, each on its share of every batch. The numbers
            equal those of one device up to rounding, except for dropout masks and, on a CPU, for BatchNorm in training
            mode, which sees the images of its own process only.
        parallel_trials: how many trials train at the same time, each in its own process, on its share of the CPU's
            threads or on one of the GPUs; more trials than GPUs share them. Heads that train together are not affected.
        micro_batch: images in one forward and backward pass on each device; null passes the whole batch (or the
            device's share of it) at once. Gradients accumulate over the batch, so the numbers are the same up to
            rounding, except for BatchNorm in training mode, which sees the images of one pass.
        compile: let torch compile the training's forward and backward passes. That takes up to a minute at the start
            and makes the steps faster. The numbers are the same up to rounding, except for dropout masks. On a CPU it
            compiles frozen layers too, whose features are kept, and needs a C++ compiler. `auto` compiles long stages
            on CUDA, and on a CPU frozen layers that enough images go through.
        launcher: starts the trials: `processes` of this machine, or `ray` on the nodes of a Ray cluster (the extra
            `cluster`), where a trial has as many CPUs as `threads` and as many GPUs as `devices`.
        address: of the cluster: `local` starts one on this machine alone, `auto` is the one that this machine belongs
            to, and others are `HOST:PORT` or `ray://HOST:PORT`.
    """

    device: DeviceName = "auto"
    precision: Precision = "auto"
    threads: int | None = None
    devices: int = 1
    parallel_trials: int = 1
    micro_batch: int | None = None
    compile: Compile = "auto"
    launcher: Launcher = "processes"
    address: str = "local"

    def __post_init__(self) -> None:
        check(
            (self.threads is None or self.threads >= 1, "threads", self.threads, "must be at least 1, or null"),
            (self.devices >= 1, "devices", self.devices, "must be at least 1"),
            (self.parallel_trials >= 1, "parallel_trials", self.parallel_trials, "must be at least 1"),
            (
                1 in (self.devices, self.parallel_trials),
                "parallel_trials",
                self.parallel_trials,
                f"must be 1 where a trial trains on several devices (devices: {self.devices})",
            ),
            (
                self.micro_batch is None or self.micro_batch >= 1,
                "micro_batch",
                self.micro_batch,
                "must be at least 1, or null",
            ),
            (
                bool(_ADDRESS.fullmatch(self.address)),
                "address",
                self.address,
                "must be local, auto, HOST:PORT or ray://HOST:PORT",
            ),
        )
