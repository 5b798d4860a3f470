"""Cuts a network in two: the frozen prefix, a fixed function of the view, and the tail, which a stage trains.

The network's own Python is traced (torch.fx) as deep as frozen and trained layers are mixed in one module. The cut is
made at the last place before the first call that may change or draw at random where a single tensor carries everything
on: between two blocks of a residual network, say, but not inside one.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, fx, nn

from transferlab.core.files.hashing import digest
from transferlab.core.models import freezing
from transferlab.core.models.backbones.pooled import Standardize
from transferlab.core.models.backbones.registry import DROP_PATHS
from transferlab.core.runtime import interrupt

logger = logging.getLogger(__name__)

# How functions that draw at random are called, in torch and in the libraries of networks.
_RANDOM = ("dropout", "stochastic_depth", "drop_path", "rand", "bernoulli")


@dataclass(frozen=True)
class Cut:
    """Where a network is cut, and both parts, which share their tensors with it.

    Attributes:
        node: the call whose result the tail takes.
        shape: of that result for one image.
        prefix_sha256: digest of what the prefix does, and of all its parameters and buffers.
        prefix: from x_BCHW to the tail's input; run it in evaluation mode.
        tail: from there to the logits.
    """

    node: str
    shape: tuple[int, ...]
    prefix_sha256: str
    prefix: fx.GraphModule = field(repr=False, compare=False)
    tail: Tail = field(repr=False, compare=False)


class Tail(nn.Module):
    """The rest of a network, as it runs in training and in evaluation; both share their layers."""

    def __init__(self, in_training: fx.GraphModule, in_evaluation: fx.GraphModule) -> None:
        super().__init__()
        self.in_training, self.in_evaluation = in_training, in_evaluation

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, K) for outputs of the prefix."""
        run = self.in_training if self.training else self.in_evaluation
        logits_BK: Tensor = run(x)
        return logits_BK

    @property
    def is_linear(self) -> bool:
        """Return whether all layers are linear and training computes what evaluation does."""
        layers = [m for m in self.modules() if next(m.parameters(recurse=False), None) is not None]
        is_fixed = not any(_draws(m) or _gathers(m) for m in self.modules())
        is_same = self.in_training.code == self.in_evaluation.code
        return is_fixed and is_same and all(type(layer) is nn.Linear for layer in layers)


def cut(network: nn.Module, example_BCHW: Tensor) -> Cut | None:
    """Cut a network whose policy has been applied; return None where no frozen beginning can be split off.

    An example is run through the parts and through the whole: they must agree to the bit.
    """
    freezing.train_mode(network)
    moving = {module for module in network.modules() if _moves(module)}
    try:
        with interrupt.held(needed=True):  # tracing changes torch's own modules, and a stop could leave them so
            in_training = _Tracer(moving).graph_of(network)
            network.eval()
            in_evaluation = _Tracer(moving).graph_of(network)
    except Exception as error:  # a network's own Python, run on stand-ins for tensors, may raise anything
        _say_once(f"{type(network).__name__} cannot be cut ({type(error).__name__}): frozen layers run in every step")
        return None
    node = _place(in_training, network, moving)
    if node is None or node not in {one.name for one in in_evaluation.nodes}:
        return None
    prefix = fx.GraphModule(network, _before(in_evaluation, node))
    tail = Tail(*(fx.GraphModule(network, _after(graph, node)) for graph in (in_training, in_evaluation)))
    with torch.inference_mode():
        kept = prefix.eval()(example_BCHW)
        is_same = torch.equal(network.eval()(example_BCHW), tail.eval()(kept.clone()))
    if len(kept) != len(example_BCHW):
        _say_once(f"{type(network).__name__} sees flips of an image as several: frozen layers run in every step")
        return None
    if not is_same:
        _say_once(f"{type(network).__name__} cut at {node} is not the same network: frozen layers run in every step")
        return None
    does = hashlib.sha256(f"{prefix.code}{digest(prefix.state_dict())}".encode()).hexdigest()
    return Cut(node, tuple(kept.shape[1:]), does, prefix, tail)


@cache
def _say_once(text: str) -> None:
    logger.info(text)


def _moves(module: nn.Module) -> bool:
    """Return whether a module is a trial's own, or in its present mode gathers statistics or draws at random."""
    trained = any(parameter.requires_grad for parameter in module.parameters(recurse=False))
    is_own = trained or isinstance(module, Standardize)  # set from a trial's own images; what is kept serves all trials
    return is_own or (module.training and (_gathers(module) or _draws(module)))


def _gathers(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats


def _draws(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if type(module).__name__ in DROP_PATHS:
        return bool(getattr(module, "p", None) or getattr(module, "drop_prob", None))
    return False


class _Tracer(fx.Tracer):
    """Looks into a module only where frozen and trained layers are mixed: what lies deeper is one call."""

    def __init__(self, moving: set[nn.Module]) -> None:
        super().__init__()
        self._moving = moving

    def graph_of(self, network: nn.Module) -> fx.Graph:
        """Record the network's calls, given one batch and the defaults of all other arguments."""
        defaults = list(inspect.signature(network.forward).parameters.values())[1:]
        concrete = {p.name: p.default for p in defaults if p.default is not inspect.Parameter.empty}
        return self.trace(network, concrete_args=concrete)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether to record one call instead of what happens inside; hooks gather what a recorded call hides."""
        mixed = any(part in self._moving for part in m.modules()) and not all(p.requires_grad for p in m.parameters())
        return not (mixed or m._forward_hooks) or not list(m.children())


def _place(graph: fx.Graph, network: nn.Module, moving: set[nn.Module]) -> str | None:
    """Name the call after which to cut: the last before anything moves whose result alone is used later."""
    nodes = list(graph.nodes)
    index = {node: number for number, node in enumerate(nodes)}
    last_use = {node: max((index[user] for user in node.users), default=-1) for node in nodes}
    first = next((index[node] for node in nodes if _node_moves(node, network, moving)), 0)
    for place in range(first, 0, -1):
        alive = [node for node in nodes[:place] if node.op != "get_attr" and last_use[node] >= place]
        if len(alive) == 1:
            return None if alive[0].op == "placeholder" else alive[0].name
    return None


def _node_moves(node: fx.Node, network: nn.Module, moving: set[nn.Module]) -> bool:
    if node.op == "call_module":
        return any(part in moving for part in network.get_submodule(str(node.target)).modules())
    if node.op == "get_attr":
        return bool(getattr(_attribute(network, str(node.target)), "requires_grad", False))
    if node.op in ("call_function", "call_method"):
        return _draws_in_call(getattr(node.target, "__name__", str(node.target)), node.kwargs)
    return False


def _draws_in_call(function: str, keywords: Mapping[str, Any]) -> bool:
    """Return whether a call draws at random, by its name, unless its arguments say that this is no training."""
    is_random = any(part in function for part in _RANDOM) and keywords.get("training", True) is not False
    return is_random or bool(keywords.get("dropout_p"))


def _attribute(network: nn.Module, path: str) -> object:
    module, _, name = path.rpartition(".")
    return getattr(network.get_submodule(module), name)


def _before(graph: fx.Graph, last: str) -> fx.Graph:
    """Copy all calls up to the one called `last`, whose result is the output."""
    part, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in graph.nodes:
        copies[node] = part.node_copy(node, copies.__getitem__)
        if node.name == last:
            break
    part.output(copies[node])
    return part


def _after(graph: fx.Graph, first: str) -> fx.Graph:
    """Copy all calls after the one called `first`, whose result is the input."""
    nodes = list(graph.nodes)
    begin = next(number for number, node in enumerate(nodes) if node.name == first)
    part = fx.Graph()
    copies = {nodes[begin]: part.placeholder("x")}

    def copied(node: fx.Node) -> fx.Node:
        if node not in copies:  # a tensor of the network itself
            copies[node] = part.node_copy(node)
        return copies[node]

    for node in nodes[begin + 1 :]:
        copies[node] = part.node_copy(node, copied)
    return part
