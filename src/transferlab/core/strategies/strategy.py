"""A strategy as data: a model and an ordered list of stages. No code anywhere asks which strategy it is in."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from transferlab.core.models import freezing
from transferlab.core.models.backbones.model import Model
from transferlab.core.strategies.optimizers import Clip, Optimizer
from transferlab.core.strategies.schedules import MOST_EPOCHS, Constant, Plateau, Schedule
from transferlab.core.transforms.input import LARGEST_SIZE, Input
from transferlab.core.transforms.operations import Operation
from transferlab.core.validation import check

MOST_IMAGES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of training under one policy, with an optimizer built at its start over what it trains.

    Attributes:
        epochs: passes over the training split.
        trainable: `head`, `all`, or rows of a pattern and a learning-rate scale (null: frozen); see `freezing`.
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
                "must be head, all, or a list of [pattern, scale] rows",
            ),
            *freezing.row_rules(self.trainable),
        )

    @property
    def distinct_views(self) -> int | None:
        """Return how many different views of each training image the stage sees; None: a new one every epoch."""
        return self.views if self.augmentation else 1


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """A way of transferring a network to the images.

    Attributes:
        model: architecture and weights.
        stages: by name, in order; none at all evaluates the untrained network.
        input: what the network sees; null fields follow the weights.
        select: `last` keeps the weights of the last epoch, `best` those of the highest validation accuracy (the first
            of equals).
        head: `own` draws the head of each trial anew; with `shared` all trials begin alike and differ in the order and
            the augmentation of images only, so that their weights can be averaged (a soup, which evaluation tries).
    """

    model: Model
    stages: dict[str, Stage]
    input: Input = field(default_factory=Input)
    select: Literal["last", "best"] = "last"
    head: Literal["own", "shared"] = "own"

    def __post_init__(self) -> None:
        check(
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
    def decides(self) -> bool:
        """Return whether held-out figures decide anything during training."""
        return self.select == "best" or any(isinstance(s.schedule, Plateau) for s in self.stages.values())

    @property
    def selection_rule(self) -> str:
        """Return the rule as it stands beside every figure."""
        return "last epoch" if self.select == "last" else "best validation accuracy"
