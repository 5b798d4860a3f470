"""Predictions of trained trials on a split: the one time that test images are seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from transferlab.core import data, engine, network, policy
from transferlab.core.checkpoint import Checkpoint
from transferlab.core.data import Images, Split
from transferlab.core.device import Machine
from transferlab.core.features import Keeping
from transferlab.core.strategy import Strategy


def predict(
    checkpoint: Checkpoint,
    strategy: Strategy,
    split: Split,
    machine: Machine,
    folder: Path,
    keeping: Keeping,
) -> NDArray[np.float64]:
    """Class probabilities (N, K) of a trial for the images of a split.

    A prefix that no stage of the strategy trained is the same in all trials: its features are computed once and kept in
    `folder`.
    """
    model = network.load(checkpoint, machine)
    images = Images(split, network.view_in(checkpoint), machine)
    is_trained = _freeze_what_no_stage_trains(model, strategy, checkpoint.header["head"])
    kept = data.on_features(model, [images], strategy.model, folder, keeping) if is_trained else None
    if kept is None:
        logits_NK = engine.logits(model, images.in_order(), machine)
    else:
        logits_NK = engine.logits(kept.tail, kept.sources[0].in_order(), machine)
    probabilities: NDArray[np.float64] = logits_NK.cpu().double().softmax(dim=1).numpy()
    return probabilities


def _freeze_what_no_stage_trains(model: nn.Module, strategy: Strategy, head: Sequence[str]) -> bool:
    """Whether any stage trains anything."""
    trained: set[str] = set()
    for stage in strategy.stages.values():
        trained |= policy.apply(model, stage.trainable, head).keys()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    return bool(trained)


def parts(paths: Sequence[str], subsets: Mapping[str, str]) -> dict[str, NDArray[np.bool_]]:
    """Which images (N,) each part of a split is measured on: all of them as `test`, and each subset as `test/<name>`.

    Args:
        paths: of the images.
        subsets: a pattern of paths (`fnmatch`, case-sensitive) for each name; one that no image matches has no part.
    """
    of_subset = {name: np.array([fnmatchcase(path, pattern) for path in paths]) for name, pattern in subsets.items()}
    return {
        "test": np.ones(len(paths), dtype=np.bool_),
        **{f"test/{name}": mask for name, mask in of_subset.items() if mask.any()},
    }


def table(
    probabilities_NK: NDArray[np.float64],
    strategy: str,
    trial: int,
    paths: Sequence[str],
    truth_N: NDArray[np.int64],
    classes: Sequence[str],
) -> pd.DataFrame:
    """The table `predictions` of one trial: one row per image, one column `p_<class>` per class."""
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
