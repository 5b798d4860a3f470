"""How a run's trials were split and grouped: what decides which interval is right for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from transferlab.core.data.split.index import split_columns
from transferlab.core.evaluation.variance import per_unit

Floats = NDArray[np.float64]

ONE_SPLIT = "one split"
RE_SPLITS = "re-splits"
FOLDS = "folds"
FIXED_TEST = "re-splits of the training images"


@dataclass(frozen=True)
class Design:
    """What decides, and how the trials were made.

    Attributes:
        metric: the metric that decides between strategies.
        margin: how far behind the best a strategy may be and still count as good enough; None for no such margin.
        groups: the group of each test image by path; None makes each image its own.
        test_to_train: test images over training images where trials have test images of their own, else 0.
        splits: how many different splits there are; trial t takes number t modulo this.
        splitting: `one split`, `re-splits`, `folds`, or `re-splits of the training images`, which keep a given test
            part.
    """

    metric: str = "accuracy"
    margin: float | None = None
    groups: pd.Series | None = None
    test_to_train: float = 0.0
    splits: int = 1
    splitting: str = ONE_SPLIT

    @classmethod
    def of_index(cls, index: pd.DataFrame, metric: str, margin: float | None, is_folds: bool = False) -> Design:
        """Read groups, splits and their sizes from the index.

        Args:
            index: path, group and the columns of splits.
            metric: as the attribute.
            margin: as the attribute.
            is_folds: the splits are folds of a cross-validation.
        """
        splits = index[split_columns(index)]
        is_test = (splits == "test").to_numpy()
        groups = index.set_index("path")["group"] if (index["group"] != "").any() else None
        if splits.shape[1] == 1:
            return cls(metric, margin, groups)
        if (is_test == is_test[:, :1]).all():
            return cls(metric, margin, groups, splits=splits.shape[1], splitting=FIXED_TEST)
        train = (splits == "train").to_numpy().sum(axis=0)
        test_to_train = float((is_test.sum(axis=0) / train).mean())
        return cls(metric, margin, groups, test_to_train, splits.shape[1], FOLDS if is_folds else RE_SPLITS)

    def units(self, trials: Sequence[int], paths: Sequence[str], values_TN: Floats) -> Floats:
        """Return the values of images, or of groups of them, (T, U); a row per split where splits are several."""
        group_N = None if self.groups is None else self.groups.loc[list(paths)].to_numpy()
        return per_unit(self.over_splits(trials, values_TN), group_N)

    def over_splits(self, trials: Sequence[int], values_T: Floats) -> Floats:
        """Average the values (T, ...) of trials that share one of several splits: they are no separate evidence."""
        split_T = np.array(trials) % self.splits
        found = np.unique(split_T)
        if self.splits == 1 or len(found) == len(split_T):
            return values_T
        return np.stack([values_T[split_T == split].mean(axis=0) for split in found])

    def repetitions(self, trials: Sequence[int]) -> int:
        """Return how many trials are separate evidence: with several splits, only those of different splits."""
        return len(trials) if self.splits == 1 else len({trial % self.splits for trial in trials})

    def count_groups(self, paths: Sequence[str]) -> int:
        """Return how many groups these images are in; 0 where images are on their own."""
        return 0 if self.groups is None else int(self.groups.loc[list(paths)].nunique())


BY_ACCURACY = Design()
