"""Where the numbers are computed: device, precision, threads."""

from __future__ import annotations

import math
import platform
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from transferlab.core.errors import MendableError
from transferlab.core.runtime.memory import keep_freed_memory
from transferlab.core.validation import check

DeviceName = Literal["auto", "cuda", "mps", "cpu"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Compile = Literal["auto"] | bool


class DeviceError(MendableError):
    """The device asked for is not there."""


@dataclass(frozen=True, kw_only=True)
class Compute:
    """What to compute on.

    Attributes:
        device: `auto` takes CUDA, then MPS, then the CPU.
        precision: of the forward pass. `auto` is mixed precision on CUDA (bfloat16 where the chip has it, else float16
            with loss scaling) and float32 elsewhere.
        threads: CPU threads of a process; null leaves torch's own choice, of which each of `parallel_trials` takes its
            share. The same number gives the same bits.
        devices: on which a trial trains together, each on its share of every batch: GPUs, or processes on the CPU. The
            numbers are those of one device up to rounding, but for dropout masks and, on the CPU, BatchNorm in training
            mode, which there sees its process's images alone.
        parallel_trials: how many trials train at a time, each in a process of its own: on a GPU of its own, or on its
            share of the CPU's threads. Heads that train together do so as without.
        micro_batch: images in one forward and backward pass, on each device; null passes the whole batch (or the
            device's share of it) at once. Gradients are gathered until the batch is complete, so the numbers are the
            same up to rounding, but for BatchNorm in training mode, which sees the images of a pass.
        compile: let torch compile forward and backward passes of the training: up to a minute at the start, then faster
            steps. The numbers are the same up to rounding, but for dropout masks. On the CPU it needs a C++ compiler.
            `auto` does so for long stages on CUDA; see `compilation`.
    """

    device: DeviceName = "auto"
    precision: Precision = "auto"
    threads: int | None = None
    devices: int = 1
    parallel_trials: int = 1
    micro_batch: int | None = None
    compile: Compile = "auto"

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
        )


@dataclass(frozen=True)
class Machine:
    """The device chosen, as it is logged and written into the tables.

    The representation names what the last bits of a forward pass depend on: keys are made of it. The number of devices
    and of trials at a time and the size and compilation of a pass in training are not in it.
    """

    device: torch.device
    dtype: torch.dtype
    device_name: str
    threads: int
    devices: int = field(default=1, repr=False)
    parallel_trials: int = field(default=1, repr=False)
    micro_batch: int | None = field(default=None, repr=False)
    compile: Compile = field(default="auto", repr=False)

    @property
    def memory_format(self) -> torch.memory_format:
        """Channels last where convolutions are faster with it (twice as fast on the CPUs measured)."""
        return torch.contiguous_format if self.device.type == "mps" else torch.channels_last

    def autocast(self) -> torch.autocast:
        """The context of the forward pass."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    def synchronize(self) -> None:
        """Wait for the device: before a clock is read."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def smaller_micro_batch(self, images: int) -> int | None:
        """Half of what a pass over so many images holds; None where that is one image."""
        if self.micro_batch == 1:
            return None
        return max(1, min(images, self.micro_batch or images) // 2)

    def describe(self) -> dict[str, str | int]:
        """Columns for the cost table."""
        kind, name = self.device.type, self.device_name
        several = {"devices": self.devices, "parallel_trials": self.parallel_trials}
        return {"device": kind, "device_name": name, "threads": self.threads, **several}


def choose(compute: Compute) -> Machine:
    """Resolve `auto`, set torch's threads and, for the CPU, how it allocates memory; name what was chosen.

    Raises:
        DeviceError: the device asked for is not there, or not so many of it.
    """
    if compute.threads is not None:
        torch.set_num_threads(compute.threads)
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    kind = next(name for name, there in available.items() if there) if compute.device == "auto" else compute.device
    if not available[kind]:
        raise DeviceError(f"training.compute.device: '{kind}' is not available on this machine; use 'auto' or 'cpu'")
    several = {"devices": compute.devices, "parallel_trials": compute.parallel_trials}
    for name, wanted in several.items():
        if wanted > (there := _count(kind)):
            raise DeviceError(
                f"training.compute.{name}: {wanted}, but this machine has {there} {kind} "
                f"device{'s' if there > 1 else ''}; use at most {there}"
            )
    if kind == "cpu":
        keep_freed_memory()
    return Machine(
        torch.device(kind),
        _dtype(compute.precision, kind),
        _name(kind),
        torch.get_num_threads(),
        compute.devices,
        compute.parallel_trials,
        compute.micro_batch,
        compute.compile,
    )


def _count(kind: str) -> float:
    """How many devices there are; on the CPU there can be as many processes as one likes."""
    return {"cuda": torch.cuda.device_count(), "mps": 1, "cpu": math.inf}[kind]


def _dtype(precision: Precision, kind: str) -> torch.dtype:
    if precision != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
    if kind != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _name(kind: str) -> str:
    if kind == "cuda":
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")  # on Linux, platform.processor() is the architecture alone
    found = re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.is_file() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the device; through pinned memory to CUDA, so that the host need not wait for the copy."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
