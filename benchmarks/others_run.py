"""What users would pick instead, each in its own usual way: fastai, timm, Lightning. Run by `benchmarks.others`.

`python others_run.py fastai fine_tuning --data FOLDER --weights FILE ...` prints one line of JSON. It runs in an
environment of its own that has these libraries and not this project, so it imports nothing of it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn
from torch.nn import functional
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

ARCHITECTURE = "tf_efficientnet_lite0"
SIZE, RESIZE = 224, 256


def network(wanted: argparse.Namespace, classes: int) -> nn.Module:
    """Build timm's pretrained network with a head for the classes; for feature extraction, freeze all but the head.

    The head is drawn as torch draws linear layers: timm's own, made for a thousand classes, is so large for two that a
    short training cannot undo it (0.54 after two epochs on frozen layers), which would not be a fair comparison.
    """
    weights = {"file": str(wanted.weights)}
    made = timm.create_model(ARCHITECTURE, pretrained=True, num_classes=classes, pretrained_cfg_overlay=weights)
    made.get_classifier().reset_parameters()
    if wanted.strategy == "feature_extraction":
        made.requires_grad_(False)
        made.get_classifier().requires_grad_(True)
    return made


def optimizer_of(wanted: argparse.Namespace, model: nn.Module, steps: int) -> tuple[torch.optim.Optimizer, OneCycleLR]:
    """AdamW over what is trained, in one cycle of so many steps."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=wanted.rate, weight_decay=0.01)
    return optimizer, OneCycleLR(optimizer, wanted.rate, total_steps=steps)


def with_timm(wanted: argparse.Namespace) -> dict[str, Any]:
    """Datasets and loaders of timm, and the shape of its train script's loop."""
    from timm.data import create_dataset, create_loader, resolve_model_data_config
    from timm.utils import AverageMeter, accuracy

    datasets = {part: create_dataset("", root=str(wanted.data / part), split="") for part in ("train", "val")}
    model = network(wanted, classes=len(datasets["train"].reader.class_to_idx)).to(wanted.device)
    config = resolve_model_data_config(model)
    on_gpu = wanted.device == "cuda"
    common = {
        "input_size": (3, SIZE, SIZE),
        "batch_size": wanted.batch_size,
        "mean": config["mean"],
        "std": config["std"],
        "interpolation": config["interpolation"],
        "crop_pct": SIZE / RESIZE,
        "num_workers": wanted.workers,
        "use_prefetcher": on_gpu,
        "persistent_workers": wanted.workers > 0,
    }
    train = create_loader(datasets["train"], is_training=True, hflip=0.5, color_jitter=None, **common)
    held_out = create_loader(datasets["val"], is_training=False, **common)
    optimizer, scheduler = optimizer_of(wanted, model, wanted.epochs * len(train))
    for _ in range(wanted.epochs):
        model.train()
        losses, hits = AverageMeter(), AverageMeter()
        for inputs, labels in train:
            inputs, labels = inputs.to(wanted.device), labels.to(wanted.device)
            loss = functional.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.update(loss.item(), len(inputs))
        model.eval()
        with torch.no_grad():
            for inputs, labels in held_out:
                (top1,) = accuracy(model(inputs.to(wanted.device)), labels.to(wanted.device))
                hits.update(top1.item(), len(inputs))
    return {"accuracy": hits.avg / 100, "epochs": wanted.epochs, "train_images": len(datasets["train"])}


def with_lightning(wanted: argparse.Namespace) -> dict[str, Any]:
    """Train with a LightningModule and a Trainer, and torchvision's transforms."""
    import lightning
    from torchmetrics.classification import MulticlassAccuracy

    class Classifier(lightning.LightningModule):
        def __init__(self, classes: int, steps: int) -> None:
            super().__init__()
            self.model, self.steps = network(wanted, classes), steps
            self.accuracy = MulticlassAccuracy(classes, average="micro")

        def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
            loss = functional.cross_entropy(self.model(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> None:
            self.accuracy(self.model(batch[0]), batch[1])
            self.log("accuracy", self.accuracy)

        def configure_optimizers(self) -> dict[str, Any]:
            optimizer, scheduler = optimizer_of(wanted, self.model, self.steps)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    train, held_out = _loaders(wanted)
    model = Classifier(len(train.dataset.classes), wanted.epochs * len(train))
    trainer = lightning.Trainer(
        max_epochs=wanted.epochs,
        accelerator="gpu" if wanted.device == "cuda" else "cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=wanted.data.parent,
    )
    trainer.fit(model, train, held_out)
    accuracy = trainer.callback_metrics["accuracy"].item()
    return {"accuracy": accuracy, "epochs": wanted.epochs, "train_images": len(train.dataset)}


def _loaders(wanted: argparse.Namespace) -> Iterator[DataLoader]:
    """Train and val, as torchvision's users load them."""
    finish = [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    steps = {
        "train": [transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip(), *finish],
        "val": [transforms.Resize(RESIZE), transforms.CenterCrop(SIZE), *finish],
    }
    for part in ("train", "val"):
        dataset = ImageFolder(str(wanted.data / part), transforms.Compose(steps[part]))
        several = {"num_workers": wanted.workers, "persistent_workers": wanted.workers > 0}
        yield DataLoader(dataset, wanted.batch_size, shuffle=part == "train", **several)


def with_fastai(wanted: argparse.Namespace) -> dict[str, Any]:
    """`vision_learner`, then `fine_tune`, or `fit_one_cycle` with the body frozen; its own head, rates and schedule."""
    from fastai.vision.all import Flip, ImageDataLoaders, RandomResizedCrop, accuracy, vision_learner

    batches = ImageDataLoaders.from_folder(
        wanted.data,
        train="train",
        valid="val",
        bs=wanted.batch_size,
        item_tfms=RandomResizedCrop(SIZE),
        batch_tfms=Flip(),
        num_workers=wanted.workers,
        device=torch.device(wanted.device),
    )
    weights = {"file": str(wanted.weights)}
    learner = vision_learner(batches, ARCHITECTURE, metrics=accuracy, pretrained_cfg_overlay=weights)
    with learner.no_bar(), learner.no_logging():
        (learner.fine_tune if wanted.strategy == "fine_tuning" else learner.fit_one_cycle)(wanted.epochs)
    epochs = wanted.epochs + (wanted.strategy == "fine_tuning")  # `fine_tune` begins with one of the head alone
    return {"accuracy": learner.recorder.values[-1][-1], "epochs": epochs, "train_images": len(batches.train_ds)}


LIBRARIES = {"fastai": with_fastai, "timm": with_timm, "lightning": with_lightning}


def main() -> None:
    """Train one, from the folder of photographs on; imports are not counted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("library", choices=list(LIBRARIES))
    parser.add_argument("strategy", choices=["fine_tuning", "feature_extraction"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    wanted = parser.parse_args()
    torch.manual_seed(0)
    __import__({"fastai": "fastai.vision.all"}.get(wanted.library, wanted.library))
    started = time.perf_counter()
    measured = LIBRARIES[wanted.library](wanted)
    measured["seconds"] = time.perf_counter() - started
    print(json.dumps({**measured, "version": version(wanted.library), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
