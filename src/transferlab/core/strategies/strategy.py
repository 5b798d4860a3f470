"""A strategy as data: a model and an ordered list of stages. No code anywhere asks which strategy it is in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from transferlab.core import metrics
from transferlab.core.metrics import Metric
from transferlab.core.models import freezing
from transferlab.core.models.backbones.model import Model
from transferlab.core.strategies.optimizers import Clip, Optimizer
from transferlab.core.strategies.schedules import MOST_EPOCHS, Constant, Plateau, Schedule, stale_epochs
from transferlab.core.transforms.input import LARGEST_SIZE, Input
from transferlab.core.transforms.operations import Operation
from transferlab.core.validation import check

MOST_IMAGES = 1_000_000
LARGEST_WEIGHT = 1e6


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of training under one policy, with an optimizer built at its start over what it trains.

    Attributes:
        epochs: passes over the training split.
        trainable: `head`, `all`, rows of a pattern and a learning-rate scale (null: frozen), or a `layer_decay`; see
            `freezing`.
        optimizer: see `optimizers`.
        keep_optimizer: keep the moments that the stage before gathered, for the parameters that both train. By default
            they begin anew, since they were gathered at another rate and for another network.
        schedule: see `schedules`.
        clip: gradient clipping, or null.
        augmentation: operations of `augment`, in order; none trains on the held-out view.
        views: null augments anew in every epoch. K draws K views of the training split, which all epochs use in turn
            and all trials share, so that the features of a frozen prefix are computed once.
        size: px of the square that the stage trains on; null is the network's input. A smaller one is cheaper; held-out
            images keep the network's input.
        batch_size: images per step. A last batch of one image joins the batch before it.
        label_smoothing: share of the target that is spread over all classes.
        class_weights: weights of the images of each class in the loss: `balanced` gives all classes the same sum, a
            mapping names weights, 1 for a class that it does not name. Probabilities are then no longer calibrated.
        sampler: `balanced` shows all classes equally often in an epoch, which has as many images as without it; null
            shows each image once.
        mixup: parameter of the Beta distribution that an image's share is drawn from when it is mixed with another one.
            Null mixes none.
        cutmix: likewise for the area that an image keeps when a box of another one is pasted into it. With both, each
            image gets one of the two.
        ema: share of the moving average of the weights that a step keeps. The average is what is evaluated, what is
            saved, and what the next stage begins with. Null keeps none.
        patience: the stage ends when the validation images have brought no better score for so many epochs; null trains
            all epochs.
        monitor: the score of the validation images that a plateau schedule and `patience` go by: that of the `metric`
            that decides between strategies (`report.metric`), or the `loss`.
    """

    epochs: int
    optimizer: Optimizer
    keep_optimizer: bool = False
    trainable: freezing.Policy = "all"
    schedule: Schedule = field(default_factory=Constant)
    clip: Clip | None = None
    augmentation: tuple[Operation, ...] = ()
    views: int | None = None
    size: int | None = None
    batch_size: int = 32
    label_smoothing: float = 0.0
    class_weights: Literal["balanced"] | dict[str, float] | None = None
    sampler: Literal["balanced"] | None = None
    mixup: float | None = None
    cutmix: float | None = None
    ema: float | None = None
    patience: int | None = None
    monitor: Literal["metric", "loss"] = "metric"

    def __post_init__(self) -> None:
        check(
            (1 <= self.epochs <= MOST_EPOCHS, "epochs", self.epochs, f"must be from 1 to {MOST_EPOCHS}"),
            (
                self.size is None or 8 <= self.size <= LARGEST_SIZE,
                "size",
                self.size,
                f"must be from 8 to {LARGEST_SIZE} px, or null",
            ),
            (
                2 <= self.batch_size <= MOST_IMAGES,
                "batch_size",
                self.batch_size,
                f"must be from 2 to {MOST_IMAGES}",
            ),
            (
                self.views is None or 1 <= self.views <= MOST_EPOCHS,
                "views",
                self.views,
                f"must be from 1 to {MOST_EPOCHS}, or null",
            ),
            (0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "must be in [0, 1)"),
            (
                not isinstance(self.trainable, str) or self.trainable in freezing.SHORTHANDS,
                "trainable",
                self.trainable,
                "must be head, all, a list of [pattern, scale] rows, or {layer_decay: ...}",
            ),
            *freezing.row_rules(self.trainable if isinstance(self.trainable, tuple) else (), "trainable"),
            *self._ingredient_rules(),
        )

    def _ingredient_rules(self) -> Iterator[tuple[bool, str, Any, str]]:
        """Yield the rules of what is off by default."""
        if isinstance(self.class_weights, dict):
            for name, weight in self.class_weights.items():
                is_sane = 0 < weight <= LARGEST_WEIGHT
                yield is_sane, f"class_weights.{name}", weight, f"must be above 0 and at most {LARGEST_WEIGHT:g}"
        for name, alpha in (("mixup", self.mixup), ("cutmix", self.cutmix)):
            is_sane = alpha is None or 1e-3 <= alpha <= 1e3
            yield is_sane, name, alpha, "must be from 0.001 to 1000 (0.2 and 1.0 are common), or null"
            excludes = "mixes images anew in every step, so no views of them can be kept; set views to null"
            yield alpha is None or self.views is None, name, alpha, excludes
        is_share = self.ema is None or 0 < self.ema < 1
        yield is_share, "ema", self.ema, "must be above 0 and below 1 (0.999 is common), or null"
        is_sane = self.patience is None or 1 <= self.patience <= MOST_EPOCHS
        yield is_sane, "patience", self.patience, f"must be from 1 to {MOST_EPOCHS} epochs, or null"

    @property
    def mixes(self) -> bool:
        """Return whether images are mixed with each other."""
        return self.mixup is not None or self.cutmix is not None

    @property
    def decides(self) -> bool:
        """Return whether validation scores decide anything during the stage."""
        return isinstance(self.schedule, Plateau) or self.patience is not None

    def is_over(self, epochs: int, scores: Sequence[float]) -> bool:
        """Return whether the stage ends after so many epochs, which gave these validation scores."""
        is_out = self.patience is not None and stale_epochs(scores) >= self.patience
        return epochs >= self.epochs or is_out

    @property
    def distinct_views(self) -> int | None:
        """Return how many different views of each training image the stage sees; None: a new one every epoch."""
        if self.mixes:
            return None
        return self.views if self.augmentation else 1


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """A way of transferring a network to the images.

    Attributes:
        model: architecture and weights.
        stages: by name, in order; none at all evaluates the untrained network.
        input: what the network sees; null fields follow the weights.
        select: `last` keeps the weights of the last epoch, `best` those of the epoch that the validation images say is
            best (the first of equals), by the metric that decides between strategies (`report.metric`).
        head: `own` draws the head of each trial anew; with `shared` all trials begin alike and differ in the order and
            the augmentation of images only, so that their weights can be averaged (a soup, which evaluation tries).
            `classifier` begins with what the pretrained classifier knows of the classes, in all trials alike.
    """

    model: Model
    stages: dict[str, Stage]
    input: Input = field(default_factory=Input)
    select: Literal["last", "best"] = "last"
    head: Literal["own", "shared", "classifier"] = "own"

    def __post_init__(self) -> None:
        check(
            (
                self.head != "classifier" or self.model.weights is not None,
                "head",
                self.head,
                "needs model.weights: from scratch there is no pretrained classifier to begin with",
            ),
            (
                self.head != "classifier" or self.model.pooled is None,
                "head",
                self.head,
                "knows the network's own last features, and model.pooled gives the head others; leave one of them out",
            ),
            *(
                (stage.isidentifier(), f"stages.{stage}", stage, "must be a plain name (letters, digits, _)")
                for stage in self.stages
            ),
            *(
                (self._can_keep(name), f"stages.{name}.keep_optimizer", True, "needs the same optimizer a stage before")
                for name, stage in self.stages.items()
                if stage.keep_optimizer
            ),
        )

    def _can_keep(self, name: str) -> bool:
        """Return whether the stage before `name` has an optimizer of the same kind."""
        names = list(self.stages)
        before = names[: names.index(name)][-1:]
        return any(self.stages[one].optimizer.name == self.stages[name].optimizer.name for one in before)

    def to_json(self) -> dict[str, Any]:
        """Return the strategy as plain JSON values, every default written out: the recipe of a checkpoint."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    @property
    def epochs(self) -> int:
        """Return the number of epochs over all stages."""
        return sum(stage.epochs for stage in self.stages.values())

    @property
    def begins_alike(self) -> bool:
        """Return whether all trials begin with the same head."""
        return self.head != "own"

    @property
    def decides(self) -> bool:
        """Return whether held-out figures decide anything during training."""
        return self.select == "best" or any(stage.decides for stage in self.stages.values())

    def decides_by(self, metric: Metric) -> Metric | None:
        """Return the metric, if it decides anything during training."""
        by_metric = any(stage.decides and stage.monitor == "metric" for stage in self.stages.values())
        return metric if self.select == "best" or by_metric else None

    def selection_rule(self, metric: Metric) -> str:
        """Return the rule as it stands beside every figure."""
        return "last epoch" if self.select == "last" else f"best validation {metrics.title(metric)}"
