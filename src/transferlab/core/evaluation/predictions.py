"""Predictions of trained trials on a split: the one time that test images are seen.

Shapes: N images, K classes, F features of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from transferlab.core.data.split.index import splits_of_trial
from transferlab.core.data.store import ImageStore
from transferlab.core.errors import MendableError
from transferlab.core.loading import features
from transferlab.core.loading.feature_cache import FeatureCache
from transferlab.core.loading.images import Images, Split
from transferlab.core.loading.splits import split_of, store_for
from transferlab.core.models import factory, forward, freezing, layers
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.models.forward import EVALUATION_BATCH
from transferlab.core.runtime.device import Machine
from transferlab.core.runtime.memory import memory_explained
from transferlab.core.strategies.strategy import Strategy


class NotFiniteError(MendableError):
    """A trial whose network has grown beyond what numbers can hold."""


class Predicted(NamedTuple):
    """What a trial makes of the images of a split.

    Attributes:
        p_NK: class probabilities.
        features: of each layer that is looked at, features_NF; see `layers.telling`.
    """

    p_NK: NDArray[np.float64]
    features: tuple[NDArray[np.float32], ...]


def predict_split(
    checkpoint: Checkpoint,
    strategy: Strategy,
    split: Split,
    machine: Machine,
    feature_cache: FeatureCache,
) -> Predicted:
    """Return the class probabilities and the features of a trial for the images of a split.

    A prefix that no stage of the strategy trained is the same in all trials: its features are computed once and kept in
    `feature_cache`.

    Raises:
        NotFiniteError: a probability is NaN.
    """
    if split.pool is None:  # `predict` runs these passes again, uncompiled, and gives the same bits
        machine = replace(machine, compile=False)
    model = factory.load(checkpoint, machine)
    images = Images(split, checkpoint.header.view, machine)
    policies = [stage.trainable for stage in strategy.stages.values()]
    is_trained = freezing.freeze_untrained(model, policies, checkpoint.header.head)
    kept = features.on_features(model, [images], strategy.model, feature_cache) if is_trained else None
    network, source = (kept.tail, kept.sources[0]) if kept else (model, images)
    with forward.inputs_of(model, layers.telling(model, checkpoint.header.head)) as gathered:
        logits_NK = forward.logits(network, source.in_order(), machine)
    p_NK = logits_NK.cpu().double().softmax(dim=1).numpy()
    _check_finite(checkpoint, split, p_NK)
    return Predicted(p_NK, forward.per_image(gathered, len(p_NK)))


def _check_finite(checkpoint: Checkpoint, split: Split, p_NK: NDArray[np.float64]) -> None:
    bad = int((~np.isfinite(p_NK).all(axis=1)).sum())
    if bad:
        name, number = checkpoint.header.strategy, (checkpoint.header.trial or 0) + 1
        raise NotFiniteError(
            f"trial {number} of {name} gives NaN for {bad} of {len(p_NK)} {split.name} images: "
            "its training has diverged. Train it again with a lower optimizer.lr, a warm-up or clip: {by: norm, at: 1}"
        )


def of_trials(
    name: str,
    strategy: Strategy,
    checkpoints: Mapping[int, Checkpoint],
    index: pd.DataFrame,
    stores: Mapping[str, ImageStore],
    machine: Machine,
    feature_cache: FeatureCache,
) -> pd.DataFrame:
    """Return the table `predictions` of some trials on the test split, and measure nothing else.

    Raises:
        DeviceMemoryError: the device has too little memory.
        NoStoreError: the images were decoded for other parameters.
    """
    tables = []
    for trial, checkpoint in checkpoints.items():
        split = split_of(index, store_for(checkpoint.header.view, stores), "test", trial)
        smaller = machine.smaller_micro_batch(EVALUATION_BATCH)
        with memory_explained(f"strategies.{name}: evaluation of trial {trial + 1}", smaller):
            p_NK = predict_split(checkpoint, strategy, split, machine, feature_cache).p_NK
        paths = list(index.loc[splits_of_trial(index, trial) == "test", "path"])
        tables.append(table(p_NK, name, trial, paths, split.labels, checkpoint.header.classes))
    return pd.concat(tables, ignore_index=True)


def table(
    probabilities_NK: NDArray[np.float64],
    strategy: str,
    trial: int,
    paths: Sequence[str],
    truth_N: NDArray[np.int64],
    classes: Sequence[str],
) -> pd.DataFrame:
    """Return the table `predictions` of one trial: one row per image, one column `p_<class>` per class."""
    names = np.array(classes, dtype=object)
    columns = {f"p_{name}": probabilities_NK[:, k] for k, name in enumerate(classes)}
    return pd.DataFrame(
        {
            "strategy": strategy,
            "trial": trial,
            "path": list(paths),
            "truth": names[truth_N],
            "prediction": names[probabilities_NK.argmax(axis=1)],
            **columns,
        }
    )
