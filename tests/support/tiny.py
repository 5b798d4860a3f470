"""What the tests of the training core share: tiny stores, splits, networks and strategies, really trained."""

import hashlib
from dataclasses import asdict, replace

import numpy as np
import torch
from PIL import Image
from torch import nn

from transferlab.core.data.store import ImageStore, Resize
from transferlab.core.data.store_writer import StoreWriter
from transferlab.core.loading.images import Split
from transferlab.core.models import factory
from transferlab.core.models.backbones.model import Model
from transferlab.core.models.checkpoint_header import CheckpointHeader
from transferlab.core.runtime.compute import Compute
from transferlab.core.runtime.device import apply, resolve
from transferlab.core.runtime.seeding import derive
from transferlab.core.strategies.optimizers import SGD
from transferlab.core.strategies.strategy import Stage, Strategy
from transferlab.core.training.spec import TrialSpec
from transferlab.core.transforms.input import Input
from transferlab.core.transforms.operations import RandomFlip, RandomResizedCrop
from transferlab.core.transforms.view import View

COMPUTE = Compute(device="cpu", precision="float32", threads=1)  # whatever this machine would choose
FLIP_AND_CROP = (RandomResizedCrop(scale=(0.4, 1.0)), RandomFlip())
VIEW = View(size=32, resize=36, mode="short_side", interpolation="bilinear", mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def machine():
    return apply(resolve(COMPUTE))


def store_of(folder, images):
    """A store of image_HWC arrays, made smaller as a real one is."""
    folder.mkdir(parents=True, exist_ok=True)
    resize = Resize(size=36)
    with StoreWriter(folder, resize) as writer:
        for image_HWC in images:
            writer.append(np.asarray(resize(Image.fromarray(image_HWC))))
        files = [
            {"path": str(i), "reason": None, "pixel_sha256": hashlib.sha256(image.tobytes()).hexdigest()}
            for i, image in enumerate(images)
        ]
        writer.finish("decoder", files)
    return ImageStore(folder)


def photographs(n, seed=0, size=(40, 48)):
    """Noise in two classes, by turns: red is strong in one and blue in the other. (images_HWC, labels_N)"""
    rng = np.random.default_rng(seed)
    labels_N = np.arange(n) % 2
    images = rng.integers(0, 200, (n, *size, 3), np.uint8)
    for image_HWC, label in zip(images, labels_N, strict=True):
        image_HWC[..., 2 * label] += 55
    return list(images), labels_N.astype(np.int64)


def split_of(folder, n, name="train", seed=0):
    images, labels_N = photographs(n, seed)
    return Split(name, store_of(folder, images), np.arange(n), labels_N)


def normed_net(dropout=0.5):
    """BatchNorm, dropout and two groups of layers: body and head; takes (B, 3, H, W)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(dropout))
        head = nn.Sequential(nn.Dropout(dropout), nn.Linear(4, 2))
    net = nn.Sequential()
    net.add_module("body", body)
    net.add_module("pool", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    net.add_module("head", head)
    return net


def named(names):
    """A module whose parameters have these names, and nothing else."""
    module = nn.Module()
    module.named_parameters = lambda: iter([(name, nn.Parameter(torch.zeros(1))) for name in names])
    return module


def state(module, prefix=""):
    """A copy of the parameters and buffers whose names begin so."""
    return {name: t.detach().clone() for name, t in module.state_dict().items() if name.startswith(prefix)}


def same(one, other):
    """Whether two states hold the same names and bits."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def stage(**changes):
    return replace(Stage(epochs=2, optimizer=SGD(lr=0.05), batch_size=4), **changes)


def strategy(name="timm/test_resnet", select="last", **stages):
    """BatchNorm throughout; a stage called `tune` when none is given."""
    return Strategy(
        model=Model(name=name), stages=stages or {"tune": stage()}, input=Input(size=32, resize=36), select=select
    )


def header(**changes):
    """What the header of a checkpoint says before training."""
    plain = CheckpointHeader(model="transferlab/convnet", weights=None, classes=("a", "b"), view=VIEW, head=("head",))
    return replace(plain, **changes)


STATISTICS = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}


def spec_of(config, train, held_out=None, trial=0, seed=0, compute=COMPUTE):
    initial = factory.initial(config.model, config.input, ["red", "blue"], STATISTICS, derive(seed, "trial", 0))
    return TrialSpec("tiny", config, initial, train, held_out, trial, seed, compute)


def untimed(rows):
    """Rows of history or steps as dictionaries, without what a clock says."""
    return [{key: value for key, value in asdict(row).items() if key != "seconds"} for row in rows]


def assert_same_results(found, expected):
    """Check that trials have the same numbers, and their results the same bits."""
    assert list(found) == list(expected)
    for number, result in expected.items():
        assert untimed(found[number].history) == untimed(result.history)
        assert found[number].steps == result.steps
        assert same(found[number].checkpoint.tensors, result.checkpoint.tensors)
