"""Frozen work, done once: what the frozen prefix of a network makes of each distinct view of each image.

The network is cut at one module, the *tail*: the smallest module that holds everything a stage may change or draw at
random (trained parameters, active dropout). Everything before it is a fixed function of the view, so its output is
computed once per view and kept on disk under a key of all it depends on; epochs, trials, strategies and later runs
share it.

Shapes: N images, F... whatever the tail takes.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from transferlab.core import policy
from transferlab.core.atomic import whole_file
from transferlab.core.checkpoint import digest
from transferlab.core.device import Machine

Batches = Callable[[], Iterator[Tensor]]


@dataclass(frozen=True)
class Cut:
    """A network cut in two: the name of its tail, and the state of the rest as a digest."""

    tail: str
    prefix_sha256: str


def cut(network: nn.Module, example_BCHW: Tensor) -> Cut | None:
    """Cut a network that has been given its policy, or None where nothing before the tail can be told apart.

    The cut holds only if the tail's output *is* the network's output; that is tried on an example.
    """
    policy.train_mode(network)
    moving = [name for name, module in network.named_modules() if _moves(module)]
    tail = _common_module(moving)
    if not tail:
        return None
    module = network.get_submodule(tail)
    network.eval()
    with torch.inference_mode(), _calls(module) as calls:
        whole = network(example_BCHW)
    if len(calls) != 1 or len(calls[0].inputs) != 1 or not _equal(calls[0].output, whole):
        return None
    prefix = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(tail + ".")}
    return Cut(tail, digest(prefix))


def _equal(one: object, other: object) -> bool:
    return isinstance(one, Tensor) and isinstance(other, Tensor) and torch.equal(one, other)


def _moves(module: nn.Module) -> bool:
    """Whether a module in its present mode has trained parameters, gathers statistics, or draws at random."""
    trained = any(parameter.requires_grad for parameter in module.parameters(recurse=False))
    gathers = isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats
    random = isinstance(module, nn.modules.dropout._DropoutNd) or type(module).__name__ in (
        "StochasticDepth",
        "DropPath",
    )
    return trained or ((gathers or random) and module.training)


def _common_module(names: Sequence[str]) -> str:
    """The name of the smallest module that holds all the modules named: their common dotted prefix."""
    return ".".join(_common_prefix([name.split(".") for name in names]))


def _common_prefix(paths: list[list[str]]) -> list[str]:
    prefix: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        prefix.append(parts[0])
    return prefix


class _Call(NamedTuple):
    inputs: tuple[Tensor, ...]  # and the values of keywords
    output: object


@contextmanager
def _calls(module: nn.Module) -> Iterator[list[_Call]]:
    """While open, the calls of a module are put on a list."""
    calls: list[_Call] = []

    def note(_: nn.Module, args: tuple[Tensor, ...], keywords: dict[str, Tensor], output: object) -> None:
        calls.append(_Call((*args, *keywords.values()), output))

    handle = module.register_forward_hook(note, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


def compute(network: nn.Module, at: Cut, batches: Iterator[Tensor], machine: Machine) -> Tensor:
    """Run the frozen prefix over batches x_BCHW and keep what reaches the tail, (N, F...), float32 on the CPU."""
    network.eval()
    kept: list[Tensor] = []
    for x_BCHW in batches:
        with torch.inference_mode(), machine.autocast(), _calls(network.get_submodule(at.tail)) as calls:
            network(x_BCHW.to(memory_format=machine.memory_format))
        kept.append(calls[0].inputs[0].float().cpu())
    return torch.cat(kept)


@dataclass(frozen=True)
class Stored:
    """Features (N, F...) and the seconds that computing them took, whenever that was."""

    features: Tensor
    seconds: float


def cached(folder: Path, key: Sequence[object], make: Callable[[], Tensor]) -> Stored:
    """The features under `key`, from the folder, or made and put there (whole or not at all)."""
    name = hashlib.sha256(repr(tuple(key)).encode()).hexdigest()
    file = folder / f"{name}.safetensors"
    if not file.is_file():
        started = time.perf_counter()
        features = make().contiguous()
        seconds = time.perf_counter() - started
        with whole_file(file) as handle:
            handle.write(save({"features": features}, metadata={"seconds": repr(seconds)}))
        return Stored(features, seconds)
    with safe_open(file, framework="pt") as stored:
        return Stored(stored.get_tensor("features"), float(stored.metadata()["seconds"]))
