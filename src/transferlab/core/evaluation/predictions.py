"""Predictions of trained trials on a split: the one time that test images are seen.

Shapes: N images, K classes, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from transferlab.core.loading import features
from transferlab.core.loading.feature_cache import FeatureCache
from transferlab.core.loading.images import Images, Split
from transferlab.core.models import factory, forward, freezing
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.runtime.device import Machine
from transferlab.core.strategies.strategy import Strategy


class Predicted(NamedTuple):
    """What a trial makes of the images of a split.

    Attributes:
        p_NK: class probabilities.
        features_NF: what the head is given.
    """

    p_NK: NDArray[np.float64]
    features_NF: NDArray[np.float32]


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
    """
    model = factory.load(checkpoint, machine)
    images = Images(split, checkpoint.header.view, machine)
    policies = [stage.trainable for stage in strategy.stages.values()]
    is_trained = freezing.freeze_untrained(model, policies, checkpoint.header.head)
    kept = features.on_features(model, [images], strategy.model, feature_cache) if is_trained else None
    network, source = (kept.tail, kept.sources[0]) if kept else (model, images)
    with forward.head_inputs(model, checkpoint.header.head) as gathered:
        logits_NK = forward.logits(network, source.in_order(), machine)
    return Predicted(logits_NK.cpu().double().softmax(dim=1).numpy(), torch.cat(gathered).numpy())


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
