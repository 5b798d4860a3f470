"""Ours against the work that must be done: `python -m benchmarks.bound --data hymenoptera_data.zip`.

The bound is each trainable layer forward and backward, each frozen layer forward once per distinct input, and nothing
else: a bare loop (forward, loss, backward, optimizer step) over tensors in memory, of the same shape, batch size,
memory format and precision as ours, and the forward passes over held-out images that ours records. Both take turns.

Where frozen layers are computed once, the bound has two parts: their forward passes over all views and held-out images,
in batches as large as ours and with BatchNorm folded, and an epoch of the head on their output. Heads of several trials
that train together can take less than as many bare loops one after the other: a ratio below 1 is no mistake there.

Writes `bound.json`, or `bound_resnet18.json` with `--backbone resnet18`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import ours, recipes, result
from transferlab.core.models.folding import folded


class Bare:
    """Trains a network on tensors in memory, and does nothing else.

    Attributes:
        network: in training mode, frozen where it is frozen.
        x_N: training inputs of a view, x_held_out_M those held out, y_N labels; on the device.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, ...], images: int, held_out: int) -> None:
        used = ours.machine().for_network(network)
        self.machine, self.network = used, network
        self.x_N, self.x_held_out_M = (self._tensor(count, shape) for count in (images, held_out))
        self.y_N = torch.arange(images, device=used.device) % 2
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.SGD(trained, lr=1e-4, momentum=0.9, fused=True)

    def _tensor(self, count: int, shape: tuple[int, ...]) -> Tensor:
        x = torch.rand(count, *shape, device=self.machine.device)
        return x.to(memory_format=self.machine.memory_format) if x.dim() == 4 else x

    def epoch(self) -> None:
        """Forward, loss, backward, step over all training inputs, then the forward passes over those held out."""
        self.network.train()
        for x_B, y_B in zip(self.x_N.split(recipes.BATCH_SIZE), self.y_N.split(recipes.BATCH_SIZE), strict=True):
            with self.machine.autocast():
                loss = functional.cross_entropy(self.network(x_B), y_B)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        self.forward(self.x_held_out_M)

    def forward(self, x_N: Tensor) -> None:
        """Run the forward passes that need no gradients."""
        self.network.eval()
        with torch.inference_mode(), self.machine.autocast():
            for x_B in x_N.split(ours.evaluation_batch(self.machine.device, *x_N.shape[1:])):
                self.network(x_B)


def seconds(work: Callable[[], None]) -> float:
    """Time some work, including what the device does of it."""
    ours.synchronize()
    started = time.perf_counter()
    work()
    ours.synchronize()
    return time.perf_counter() - started


def trained(strategy: ours.Strategy, data: ours.Data, folder: Path) -> dict[str, Any]:
    """Measure an epoch of training in which every layer learns."""
    bare = Bare(ours.network_in_training(strategy, data), (3, 224, 224), *data.counts)
    bare.epoch()
    bounds: list[float] = []
    (of_ours,) = ours.train(strategy, data, folder, after_epoch=lambda _: bounds.append(seconds(bare.epoch)))
    return {"epoch": ratio(ours.epoch_seconds(of_ours)[1:], bounds)}


def frozen(strategy: ours.Strategy, data: ours.Data, root: Path, folder: Path, trials: int) -> dict[str, Any]:
    """Measure features, an epoch of the head, and the whole job from the folder of photographs on."""
    (stage,) = strategy.stages.values()
    network, head = ours.plain_network(strategy, data, seed=0)
    assert isinstance(head, nn.Linear)
    example = torch.rand(1, 3, 224, 224, device=ours.machine().device)
    plain = folded(network.to(memory_format=ours.machine().memory_format), example)
    whole = Bare(plain, (3, 224, 224), *data.counts)
    top = Bare(head, (head.in_features,), *data.counts)
    top.epoch()

    def prefix() -> None:
        for _ in range(stage.views or 1):
            whole.forward(whole.x_N)
        whole.forward(whole.x_held_out_M)

    whole.forward(whole.x_held_out_M)
    passes = [seconds(prefix)]
    heads = [seconds(top.epoch) for _ in range(stage.epochs)]
    started = time.perf_counter()
    results = ours.job(root, strategy, folder, trials)
    job = time.perf_counter() - started
    heads += [seconds(top.epoch) for _ in range(stage.epochs)]
    passes.append(seconds(prefix))
    features = ratio([results[0].cost.feature_seconds], passes)
    epoch = ratio([took for of_trial in results for took in ours.epoch_seconds(of_trial)[1:]], heads)
    least = features["bound"]["median"] + trials * stage.epochs * epoch["bound"]["median"]
    return {"features": features, "epoch of the head": epoch, f"job of {trials} trials": ratio([job], [least])}


def ratio(of_ours: list[float], bound: list[float]) -> dict[str, Any]:
    """Return the seconds of both, and ours as a multiple of the bound."""
    measured = {"ours": result.repeats(of_ours), "bound": result.repeats(bound)}
    return {**measured, "ratio": measured["ours"]["median"] / measured["bound"]["median"]}


def table(report: dict[str, Any]) -> result.Table:
    """Make the table of ratios."""
    rows = [
        [strategy, what, *(result.seconds(both[side]["median"]) for side in ("bound", "ours")), f"{both['ratio']:.2f}"]
        for strategy, parts in report["strategies"].items()
        for what, both in parts.items()
    ]
    title = f"Ours and the work that must be done, {report['options']['backbone']}"
    return result.Table(title, ["strategy", "what", "bound", "ours", "ours / bound"], rows, result.made_on(report))


def measure(wanted: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Measure each strategy."""
    root = ours.images(wanted.data, work / "images", wanted.images)
    backbone = ours.with_weights(recipes.BACKBONES[wanted.backbone], work)
    measured = {}
    for name, strategy in recipes.published(backbone, wanted.epochs, wanted.views).items():
        data = ours.decode(root, [strategy], work / "decoded")
        if name == "feature_extraction":
            whole = recipes.published(backbone, views=wanted.views)[name]
            measured[name] = frozen(whole, data, root, work / name, wanted.trials)
        else:
            measured[name] = trained(strategy, data, work / name)
    return measured


def main() -> None:
    """Measure each strategy."""
    parser = result.options(__doc__.partition(":")[0], data=True)
    parser.add_argument("--backbone", choices=list(recipes.BACKBONES), default="efficientnet_lite0")
    parser.add_argument("--epochs", type=int, default=5, help="measured of each")
    parser.add_argument("--views", type=int, default=4, help="of feature extraction")
    parser.add_argument("--trials", type=int, default=recipes.TRIALS, help="of feature extraction")
    parser.add_argument("--images", type=int, help="of each class and part; by default all")
    wanted = result.parse(parser, epochs=2, views=2, trials=2, images=8)
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(wanted, Path(folder))
    name = "bound" if wanted.backbone == "efficientnet_lite0" else f"bound_{wanted.backbone}"
    table(result.write(name, wanted, {"strategies": measured})).show()


if __name__ == "__main__":
    main()
