"""What a trial makes of its validation and training images, kept so that later predictions can be calibrated.

Shapes: N validation images, M training images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from transferlab.core.calibration.reference import Reference, Training
from transferlab.core.evaluation.predictions import Predicted
from transferlab.core.files.hashing import sha256_of_json
from transferlab.core.loading.images import Split

# Training images whose features are kept. More take time and space; Sun et al. (2022) lose little with 1% of ImageNet.
MOST_TRAINING = 1_000


def reference(
    train: Split, paths: Sequence[str], validation: Split, predict: Callable[[Split], Predicted]
) -> Reference | None:
    """Return what prediction sets and familiarity are calibrated on; None where there is no validation image.

    Args:
        train: the trial's training images, of which a sample is looked at, as they are seen in evaluation.
        paths: of the training images.
        validation: its validation images.
        predict: runs the trial's network.
    """
    if not len(validation) or not len(train):
        return None
    images = sha256_of_json([validation.fingerprint, validation.labels.tolist()])
    p_NK, features = predict(validation)
    chosen = spread(train.labels, MOST_TRAINING)
    _, of_training = predict(part(train, chosen))
    training = Training(of_training, train.labels[chosen], tuple(paths[place] for place in chosen))
    return Reference.of(images, p_NK, validation.labels, features, training)


def spread(labels_N: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return the places of at most so many images, of each class its share, spread evenly over their order."""
    if len(labels_N) <= most:
        return np.arange(len(labels_N))
    by_class = np.argsort(labels_N, kind="stable")
    return np.sort(by_class[np.linspace(0, len(labels_N) - 1, most).astype(np.int64)])


def part(split: Split, places: NDArray[np.int64]) -> Split:
    """Return the images at some places of a split."""
    return replace(split, rows=split.rows[places], labels=split.labels[places])
