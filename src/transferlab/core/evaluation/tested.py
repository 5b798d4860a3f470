"""Runs a trained trial on the test split, and on what its later predictions are calibrated on.

Shapes: N test images, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from transferlab.core.calibration.conformal import LEVEL
from transferlab.core.calibration.reference import Reference
from transferlab.core.data.split.index import sorted_classes, splits_of_trial
from transferlab.core.data.store import ImageStore
from transferlab.core.errors import MendableError
from transferlab.core.evaluation import held_out, predictions
from transferlab.core.loading.feature_cache import FeatureCache
from transferlab.core.loading.images import Split
from transferlab.core.loading.splits import split_of, store_for
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.models.checkpoint_header import CheckpointHeader
from transferlab.core.models.forward import EVALUATION_BATCH
from transferlab.core.runtime.device import Machine
from transferlab.core.runtime.memory import memory_explained
from transferlab.core.strategies.strategy import Strategy


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How the trials of a strategy are tested.

    Attributes:
        name: of the strategy.
        strategy: which of its layers no stage has trained decides what is shared by the trials.
        index: all images, with class, label and split.
        stores: the image stores by the key of their resize.
        subsets: parts of the test split that are also measured alone, as patterns of paths by name.
        machine: where to compute.
        feature_cache: keeps the features of frozen layers.
        experiment: its name, a column of the tables.
        run_id: of the run that evaluates, a column of the tables.
        checkpoint_version: of the checkpoints, a column of the tables.
        level: the probability with which prediction sets are to hold the truth.
    """

    name: str
    strategy: Strategy
    index: pd.DataFrame
    stores: Mapping[str, ImageStore]
    subsets: Mapping[str, str]
    machine: Machine
    feature_cache: FeatureCache
    experiment: str
    run_id: str
    checkpoint_version: str | None
    level: float = LEVEL

    def split(self, checkpoint: Checkpoint, name: str, trial: int) -> Split:
        """Return a split as a trial sees it.

        Raises:
            NoStoreError: the images were decoded for other parameters.
        """
        return split_of(self.index, store_for(checkpoint.header.view, self.stores), name, trial)

    def paths(self, name: str, trial: int) -> list[str]:
        """Return the paths of the images of a split, in the same order."""
        return list(self.index.loc[splits_of_trial(self.index, trial) == name, "path"])


class OtherDataError(MendableError):
    """A trial was trained on other images than those of the index, of which some that are for testing now."""


@dataclass(frozen=True)
class Tested:
    """What one trial made of the test images.

    Attributes:
        trial: its number.
        selection: the rule by which its epoch was chosen.
        classes: their names.
        paths: of the images.
        truth_N: the true classes.
        p_NK: probabilities.
        reference: what it made of validation images; None where there are none.
        distance_N: of the test images to the training images (see `Nearness`); None without `reference`.
    """

    trial: int
    selection: str | None
    classes: tuple[str, ...]
    paths: list[str]
    truth_N: NDArray[np.int64]
    p_NK: NDArray[np.float64]
    reference: Reference | None
    distance_N: NDArray[np.float64] | None


def run_tests(trial: int, checkpoint: Checkpoint, how: Evaluation) -> Tested:
    """Run a trial on its test split, its validation split and a sample of its training split.

    Raises:
        DeviceMemoryError: the device has too little memory.
        NoStoreError: the images were decoded for other parameters.
        OtherDataError: the trial was trained on other images or classes.
    """
    header, split = checkpoint.header, how.split(checkpoint, "test", trial)
    train, validation = (how.split(checkpoint, name, trial) for name in ("train", "validation"))
    _check_same_data(header, how, train)
    predict = partial(_predict, checkpoint, how)
    smaller = how.machine.smaller_micro_batch(EVALUATION_BATCH)
    with memory_explained(f"strategies.{how.name}: evaluation of trial {trial + 1}", smaller):
        p_NK, features = predict(split)
        reference = held_out.reference(train, how.paths("train", trial), validation, predict)
    distance_N = reference.nearness.distance(features) if reference else None
    return Tested(
        trial, header.selection, header.classes, how.paths("test", trial), split.labels, p_NK, reference, distance_N
    )


def _check_same_data(header: CheckpointHeader, how: Evaluation, train: Split) -> None:
    """Check that the index is that of the training: else a test image may be one that was trained on.

    Checkpoints of before headers said so (`trained_on`) are taken on trust.
    """
    classes = tuple(sorted_classes(how.index))
    if header.classes != classes:
        differs = f"for the classes {', '.join(header.classes)}, and the images are now of {', '.join(classes)}"
    elif header.trained_on not in (None, train.contents):
        differs = "on another training split than the images have now"
    else:
        return
    raise OtherDataError(
        f"strategies.{how.name}: trial {(header.trial or 0) + 1} was trained {differs}, so that it may have seen test "
        f"images. Train it again: `kedro run --namespaces={how.name}` with the same --env and --params"
    )


def _predict(checkpoint: Checkpoint, how: Evaluation, split: Split) -> predictions.Predicted:
    return predictions.predict_split(checkpoint, how.strategy, split, how.machine, how.feature_cache)
