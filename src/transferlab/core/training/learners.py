"""What the training loop trains: the network of one trial, or the stacked linear heads of several.

The loop sees T trials either way, and asks a `Learner` only for what differs: logits and weights.

Shapes: T trials, B images of a batch, N of a split, F... features, K classes. An ellipsis (...B) stands for the trial
axis, which only stacked heads have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from transferlab.core.models.checkpoint import on_cpu
from transferlab.core.models.forward import logits
from transferlab.core.models.prefix import Tail
from transferlab.core.runtime.device import Machine
from transferlab.core.training import compilation, distributed


class Learner(Protocol):
    """The trainable side of one or more trials.

    Attributes:
        network: the whole network, whose policy the stage sets.
        running: the part of it that runs in the current stage: the network, or its tail on cached features.
        count: T, how many trials it holds.
    """

    network: nn.Module
    running: nn.Module
    count: int

    def begin_stage(self, running: nn.Module, mode: compilation.Mode | None) -> None:
        """Run this part of the network from now on, compiled if a mode is given."""

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters that an optimizer may train, by their names in the network."""

    def rows(self, order_TN: Tensor) -> Tensor:
        """Return each trial's order of images as the rows (...N) that its batches are cut from."""

    def logits(self, x: Tensor) -> Tensor:
        """Run a training pass: logits (...B, K)."""

    def moving(self) -> list[Tensor]:
        """Return the tensors that training changes, always in the same order: weights and BatchNorm statistics."""

    def without_average(self) -> AbstractContextManager[None]:
        """While open, keep gradients on this rank instead of averaging them."""

    def evaluate(self, inputs: Iterator[Tensor], machine: Machine) -> Tensor:
        """Return each trial's logits (T, N, K), float32, in evaluation mode, of all that `inputs` yields."""

    def weights(self, place: int) -> dict[str, Tensor]:
        """Copy the tensors that a trial does not share with the others to the CPU."""

    def complete(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add the tensors that all trials share to what `weights` gave."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors that a resume needs, on the CPU."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state_dict`."""


class OneNetwork:
    """One trial: a network, on one device or replicated over ranks.

    Args:
        network: on its device.
        beginning: its tensors as `factory.fresh` draws them, on the CPU; the state of a trial leaves out what still
            equals them.
    """

    count = 1

    def __init__(self, network: nn.Module, beginning: Mapping[str, Tensor] | None = None) -> None:
        self.network = self.running = self._callable = network
        self._beginning = beginning or {}
        self._mode: compilation.Mode | None = None

    def begin_stage(self, running: nn.Module, mode: compilation.Mode | None) -> None:
        """Run this part of the network from now on, compiled if a mode is given."""
        self.running, self._mode = running, mode
        self._callable = distributed.parallel(compilation.compiled(running, mode))

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the network's parameters by name."""
        return dict(self.network.named_parameters())

    def rows(self, order_TN: Tensor) -> Tensor:
        """Return the order (N,) of the only trial."""
        return order_TN[0]

    def logits(self, x: Tensor) -> Tensor:
        """Run a training pass: logits (B, K)."""
        compilation.begin_pass(self._mode)
        logits_BK: Tensor = self._callable(x)
        return logits_BK

    def moving(self) -> list[Tensor]:
        """Return the trained parameters and the BatchNorm statistics of what runs."""
        norms = [m for m in self.running.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
        statistics = [t for m in norms for t in (m.running_mean, m.running_var) if t is not None]
        return [*(p for p in self.running.parameters() if p.requires_grad), *statistics]

    def without_average(self) -> AbstractContextManager[None]:
        """While open, keep gradients on this rank instead of averaging them."""
        return distributed.without_average(self._callable)

    def evaluate(self, inputs: Iterator[Tensor], machine: Machine) -> Tensor:
        """Return logits (1, N, K), float32, in evaluation mode."""
        return logits(self.running, inputs, machine)[None]

    def weights(self, place: int) -> dict[str, Tensor]:
        """Copy all tensors of the network to the CPU."""
        return on_cpu(self.network)

    def complete(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors as they are: `weights` gave all of them."""
        return dict(weights)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors that have changed since the beginning, on the CPU."""
        tensors = on_cpu(self.network)
        return {name: t for name, t in tensors.items() if not _is_same(t, self._beginning.get(name))}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state_dict`."""
        self.network.load_state_dict(state, strict=False)


class StackedHeads:
    """Linear heads of T trials on features that all share: a step of all is one batched matrix product.

    Each trial keeps its own initial head, order of images and labels. torch's optimizers work element by element, and
    no trial's loss depends on another's head, so the numbers are those of the trials alone up to rounding.

    Args:
        network: of the first trial; the others differ from it in the head alone.
        heads: each trial's head: the parameters of the network's tail by name.
    """

    def __init__(self, network: nn.Module, heads: Sequence[Mapping[str, Tensor]]) -> None:
        self.network = self.running = network
        self.count = len(heads)
        trains = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
        self._stacked = {
            name: nn.Parameter(torch.stack([head[name] for head in heads]), requires_grad=trains[name])
            for name in heads[0]
        }

    def begin_stage(self, running: nn.Module, mode: compilation.Mode | None) -> None:
        """Run this tail from now on; a batched product is not worth compiling."""
        self.running = running.in_training if isinstance(running, Tail) else running

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the stacked parameters, (T, ...) each, by the name that each slice has in the network."""
        return self._stacked

    def rows(self, order_TN: Tensor) -> Tensor:
        """Return the order of every trial, (T, N)."""
        return order_TN

    def logits(self, x: Tensor) -> Tensor:
        """Run a training pass on each trial's own images x_TBF: logits (T, B, K)."""
        return self._run(x, 0)

    def moving(self) -> list[Tensor]:
        """Return the trained of the stacked parameters."""
        return [stacked for stacked in self._stacked.values() if stacked.requires_grad]

    def without_average(self) -> AbstractContextManager[None]:
        """Do nothing: heads are trained in one process."""
        return nullcontext()

    def evaluate(self, inputs: Iterator[Tensor], machine: Machine) -> Tensor:
        """Return logits (T, N, K), float32, of the same images for all trials."""
        with torch.inference_mode(), machine.for_network(self.running).autocast():
            return torch.cat([self._run(x_BF, None).float().cpu() for x_BF in inputs], dim=1)

    def weights(self, place: int) -> dict[str, Tensor]:
        """Copy a trial's head to the CPU."""
        return {name: stacked[place].detach().to("cpu", copy=True) for name, stacked in self._stacked.items()}

    def complete(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add the body that all trials share to a trial's head."""
        return on_cpu(self.network) | dict(weights)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the stacked heads, on the CPU."""
        return {name: stacked.detach().to("cpu", copy=True) for name, stacked in self._stacked.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state_dict`."""
        with torch.no_grad():
            for name, stacked in self._stacked.items():
                stacked.copy_(state[name])

    def _run(self, x: Tensor, trial_axis: int | None) -> Tensor:
        """Run every head: logits (T, B, K), given the axis of x that counts trials; None gives all the same x."""
        run = vmap(lambda parameters, x: functional_call(self.running, parameters, (x,)), in_dims=(0, trial_axis))
        logits_TBK: Tensor = run(self._stacked, x)
        return logits_TBK


def _is_same(one: Tensor, other: Tensor | None) -> bool:
    """Compare to the bit; NaN equals NaN."""
    if other is None:
        return False
    return torch.equal(one, other) or torch.equal(one.view(-1).view(torch.uint8), other.view(-1).view(torch.uint8))
