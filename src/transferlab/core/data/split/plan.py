"""The split of every image in every trial: a rule of seed, paths and given splits, not of the order of rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from transferlab.core.data.split.config import SplitConfig, SplitError
from transferlab.core.data.split.names import TEST, TRAIN, VALIDATION
from transferlab.core.data.split.sampling import fold_of, fold_of_groups, nested_order, take, take_groups

STRATA = ["class", "stratify"]

Splits = NDArray[np.object_]  # (N,): train, validation or test


@dataclass(frozen=True)
class SplitPlan:
    """The split of each image in each trial: a pure function of the images, the config and the trial's number.

    Attributes:
        images: path, class, split ("" in every row, or in none), stratify, group ("" in every row, or in none).
        config: how to split.
    """

    images: pd.DataFrame
    config: SplitConfig

    def __len__(self) -> int:
        """Return how many different splits there are; trial t takes number t modulo this."""
        return self.config.count

    def of_trial(self, trial: int) -> Splits:
        """Return the split (N,) of every image in a trial: train, validation or test.

        Raises:
            SplitError: the given splits or groups contradict the settings or each other.
        """
        return self._drawn[trial % len(self)]

    def table(self) -> pd.DataFrame:
        """Return path, and a column for each of the plan's splits: split, split_1, split_2, ..."""
        names = ["split", *(f"split_{number}" for number in range(1, len(self)))]
        return pd.DataFrame({"path": self.images["path"], **dict(zip(names, self._drawn, strict=True))})

    def subset(self, size: int, draw: int, trial: int = 0) -> NDArray[np.bool_]:
        """Choose part of a trial's training images: a mask (N,).

        The subsets of one draw are nested: a smaller one is part of every larger one. They are stratified, and with
        groups a group is taken whole or not at all, so that a subset may be smaller than asked for.

        Args:
            size: training images to choose, at most all.
            draw: another one chooses others.
            trial: whose training images.

        Raises:
            SplitError: so few images that a class has none; the message says how many it takes.
        """
        order, least = self._training_order(draw, trial)
        if not least <= size <= len(order):
            raise SplitError(
                f"{size} training images: a subset needs {least} for one of every class, and there are {len(order)}"
            )
        chosen = np.zeros(len(self.images), dtype=np.bool_)
        chosen[order[: self._whole_groups(order, size)]] = True
        return chosen

    def subset_sizes(self, draw: int = 0, trial: int = 0, smallest: int = 1) -> list[int]:
        """Return sizes for `subset`, each half of the next up to all training images, none below `smallest`."""
        order, least = self._training_order(draw, trial)
        sizes = [len(order)]
        while (half := (sizes[0] + 1) // 2) >= max(least, smallest) and half < sizes[0]:
            sizes.insert(0, half)
        return sizes

    @cached_property
    def _is_grouped(self) -> bool:
        return bool((self.images["group"] != "").any())

    @cached_property
    def _drawn(self) -> list[Splits]:
        return [self._draw(number) for number in range(len(self))]

    def _draw(self, number: int) -> Splits:
        """Draw the split of one number; of images without given parts, number 0 of re-splits is their one split."""
        split = self.images["split"].to_numpy(dtype=object, copy=True)
        self._check_given(split)
        if self.config.folds:
            return self._folds(split, *divmod(number, self.config.folds))
        share, salt = self.config.validation, f"{self.config.seed}{f' re-split {number}' if number else ''}"
        if (split == "").all():
            test = self._take(np.arange(len(split)), self.config.test, f"{salt} test")
            split = np.where(test, TEST, TRAIN).astype(object)
        elif self.config.resplits:
            share = share or (split == VALIDATION).sum() / (split != TEST).sum()
            split[split == VALIDATION] = TRAIN
            self._check_something_to_draw(share)
        if not share or VALIDATION in split:
            return split
        rest = np.flatnonzero(split == TRAIN)
        split[rest[self._take(rest, share, f"{salt} validation")]] = VALIDATION
        return split

    def _folds(self, split: Splits, repeat: int, fold: int) -> Splits:
        """Hold out a fold: for test, or for validation where a given test part stays."""
        pool, salt = np.flatnonzero(split != TEST), f"{self.config.seed} folds {repeat}"
        held_out = VALIDATION if TEST in split else TEST
        images, folds = self.images.iloc[pool], self.config.folds or 1
        units = images["group"].nunique() if self._is_grouped else len(images)
        if units < folds:
            what = "groups" if self._is_grouped else "images"
            raise SplitError(
                f"dataset.split.folds: {folds}, but there are only {units} {what} to deal: use fewer folds"
            )
        of_image = (fold_of_groups if self._is_grouped else fold_of)(images, STRATA, folds, salt)
        split[pool] = np.where(of_image == fold, held_out, TRAIN)
        if held_out == TEST and self.config.validation:
            rest = np.flatnonzero(split == TRAIN)
            split[rest[self._take(rest, self.config.validation, f"{salt} {fold} validation")]] = VALIDATION
        return split

    def _take(self, rows: NDArray[np.intp], share: float, salt: str) -> NDArray[np.bool_]:
        images = self.images.iloc[rows]
        if self._is_grouped:
            return take_groups(images, STRATA, share, salt)
        return take(images, STRATA, round(share * len(rows)), salt)

    def _check_given(self, split: Splits) -> None:
        without = split == ""
        if without.any() and not without.all():
            raise SplitError(
                f"{without.sum()} of {len(split)} images have no split, the others have one: "
                "give all of them one, or none"
            )
        if without.all() or not self._is_grouped:
            return
        is_drawn_anew = self.config.resplits or self.config.folds
        sides = np.where(split == TEST, TEST, "the other parts") if is_drawn_anew else split
        of_group = pd.Series(sides).groupby(self.images["group"].to_numpy()).unique()
        across = of_group[of_group.str.len() > 1]
        if len(across):
            raise SplitError(
                f"dataset.split.groups: the splits that the data bring put images of group {across.index[0]!r} in "
                f"{' and '.join(sorted(across.iloc[0]))} ({len(across)} such groups): mend the data's split, let the "
                "project split anew (no split column, one folder of classes), or leave groups out"
            )

    def _check_something_to_draw(self, validation: float) -> None:
        if not validation:
            raise SplitError(
                "dataset.split.resplits: the data bring their own test part, which stays, and without validation "
                "images nothing is left to split: set dataset.split.validation, e.g. to 0.15, or leave resplits out"
            )

    def _training_order(self, draw: int, trial: int) -> tuple[NDArray[np.intp], int]:
        """Return the training rows in the order in which subsets take them, and the least that has every class."""
        rows = np.flatnonzero(self.of_trial(trial) == TRAIN)
        images, salt = self.images.iloc[rows], f"{self.config.seed} subset {draw}"
        order = rows[nested_order(images, "group" if self._is_grouped else "path", STRATA, salt)]
        first = pd.Series(np.arange(len(order))).groupby(self.images["class"].to_numpy()[order]).first()
        least = int(first.max()) + 1
        return order, self._to_the_end_of_its_group(order, least)

    def _whole_groups(self, order: NDArray[np.intp], size: int) -> int:
        """Return the largest number up to `size` after which no group is cut."""
        return int(self._ends(order)[self._ends(order) <= size].max())

    def _to_the_end_of_its_group(self, order: NDArray[np.intp], size: int) -> int:
        return int(self._ends(order)[self._ends(order) >= size].min())

    def _ends(self, order: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the numbers of rows after which a group of the order ends."""
        if not self._is_grouped:
            return np.arange(1, len(order) + 1)
        group = self.images["group"].to_numpy()[order]
        return np.flatnonzero(np.append(group[1:] != group[:-1], True)) + 1
