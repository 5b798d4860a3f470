"""Chooses where numbers are computed: device, precision and threads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cache

import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

from transferlab.core.errors import MendableError
from transferlab.core.runtime import precision
from transferlab.core.runtime.compute import Compile, Compute, Precision
from transferlab.core.runtime.memory import keep_freed_memory
from transferlab.core.runtime.processor import processor


class DeviceError(MendableError):
    """Raised when the device asked for is not there."""


@dataclass(frozen=True)
class Machine:
    """The device that a process computes on, as `resolve` chose it; it is logged and written into the tables.

    Attributes:
        device: without a number; each process uses its current GPU.
        dtype: of the forward passes.
        device_name: of the GPU or the processor.
        threads: CPU threads of this process.
        devices: as in `Compute`, and so are the attributes below.
        linear_dtype: of forward passes of networks that have linear layers alone, such as a head on cached features;
            None where that is `dtype` too.
    """

    device: torch.device
    dtype: torch.dtype
    device_name: str
    threads: int
    devices: int = 1
    parallel_trials: int = 1
    micro_batch: int | None = None
    compile: Compile = "auto"
    linear_dtype: torch.dtype | None = None

    def numerics(self) -> dict[str, str | int]:
        """Return what the last bits of a forward pass depend on, as plain values that keys and fingerprints hash.

        The number of devices and of trials at a time, and the size of training passes, are left out: they change no bit
        of what a frozen layer computes. So is compilation, which those add that compile.
        """
        return {
            "device": self.device.type,
            "device_name": self.device_name,
            "precision": self.precision,
            "threads": self.threads,
        }

    @property
    def memory_format(self) -> torch.memory_format:
        """Channels last where convolutions are faster with it (twice as fast on the CPUs measured)."""
        return torch.contiguous_format if self.device.type == "mps" else torch.channels_last

    @property
    def precision(self) -> str:
        """The precision of forward passes, in words."""
        of_all, of_linear = (
            str(dtype).removeprefix("torch.") for dtype in (self.dtype, self.linear_dtype or self.dtype)
        )
        return of_all if of_all == of_linear else f"{of_all} ({of_linear} in linear heads)"

    def for_network(self, network: nn.Module) -> Machine:
        """Return this machine with the precision that a network, or a part of one, computes in."""
        dtype = self.dtype
        if self.linear_dtype is not None and precision.has_linear_layers_alone(network):
            dtype = self.linear_dtype
        return replace(self, dtype=dtype, linear_dtype=None)

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context of a forward pass in this precision."""
        return precision.autocast(self.device, self.dtype)

    def synchronize(self) -> None:
        """Wait until the device has finished; call it before reading a clock."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def smaller_micro_batch(self, images: int) -> int | None:
        """Return half the images of a pass over `images`, or None if a pass holds one image already."""
        if self.micro_batch == 1:
            return None
        return max(1, min(images, self.micro_batch or images) // 2)

    def describe(self) -> dict[str, str | int]:
        """Return the columns of the cost table."""
        kind, name = self.device.type, self.device_name
        several = {"devices": self.devices, "parallel_trials": self.parallel_trials}
        return {"device": kind, "device_name": name, "precision": self.precision, "threads": self.threads, **several}


# For figures, and for exports that other programs repeat: full precision, whatever the machine has.
PLAIN_CPU = Machine(torch.device("cpu"), torch.float32, "", 1)


def resolve(compute: Compute) -> Machine:
    """Choose the device, precision and threads that a config asks for; nothing is set.

    Raises:
        DeviceError: the device asked for is not there, or there are fewer than asked for.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    kind = next(name for name, there in available.items() if there) if compute.device == "auto" else compute.device
    if not available[kind]:
        raise DeviceError(f"training.compute.device: '{kind}' is not available on this machine; use 'auto' or 'cpu'")
    if compute.devices > (there := _count(kind)):
        raise DeviceError(
            f"training.compute.devices: {compute.devices}, but this machine has {there} {kind} "
            f"device{'s' if there > 1 else ''}; use at most {there}"
        )
    dtype = _dtype(compute.precision, kind)
    is_chosen_for_cpu = compute.precision == "auto" and kind == "cpu" and dtype != torch.float32
    return Machine(
        torch.device(kind),
        dtype,
        torch.cuda.get_device_name() if kind == "cuda" else processor(),
        compute.threads or torch.get_num_threads(),
        compute.devices,
        compute.parallel_trials,
        compute.micro_batch,
        compute.compile,
        torch.float32 if is_chosen_for_cpu else None,
    )


def apply(machine: Machine) -> Machine:
    """Set this process's threads, how it allocates memory on a CPU, and what float32 means on CUDA; return the machine.

    By default cuDNN's convolutions round float32 to TensorFloat-32, whose 10 bits are float16's.

    Whatever computes in a process calls this before it begins. Calling it again with the same machine changes nothing.
    """
    torch.set_num_threads(machine.threads)
    if machine.device.type == "cpu":
        keep_freed_memory()
    elif machine.device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = machine.dtype != torch.float32
    return machine


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in the calling thread alone while open, for operations that are too small to share out.

    `torch.set_num_threads` would make oneDNN forget the convolutions that it has prepared, 2 ms in each training step.
    """
    with _openmp().limit(limits=1):
        yield


@cache
def _openmp() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="openmp")


def _count(kind: str) -> float:
    """Count the devices of a kind; a CPU takes any number of processes."""
    return {"cuda": torch.cuda.device_count(), "mps": 1, "cpu": math.inf}[kind]


def _dtype(wanted: Precision, kind: str) -> torch.dtype:
    if wanted != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[wanted]
    if kind == "cpu" and precision.cpu_has_bfloat16_units():
        return torch.bfloat16
    if kind != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to the device; to CUDA through pinned memory, so that the host does not wait for the copy."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
