"""Which images are for training, validation and test: a rule of seed and paths, not of the order of rows.

Images are ordered by class, then group, then a hash of (seed, path), and every n/k-th is taken (systematic sampling,
Cochran, Sampling Techniques, 1977, chapter 8). So exactly k are taken in all, and from each class, and each group of
it, the proportional number rounded up or down.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from transferlab.core.errors import MendableError
from transferlab.core.validation import check

EXCLUDED = "excluded"
INDEX = ["path", "class", "label", "split", "group", "width", "height", "pixel_sha256"]


class SplitError(MendableError):
    """The images cannot be split as configured: the message names the setting and the cure."""


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How images are split where the data do not say it themselves; given splits are kept.

    Attributes:
        test: the share of all images that is for test; not used when the data bring their own test part.
        validation: the share of the other images that is for validation; 0 for none.
        seed: another seed gives another split.
        limit: use a stratified part of so many images; null for all.
    """

    test: float = 0.25
    validation: float = 0.0
    seed: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        check(
            (0 < self.test < 1, "test", self.test, "must be above 0 and below 1"),
            (0 <= self.validation < 1, "validation", self.validation, "must be at least 0 and below 1"),
            (self.limit is None or self.limit >= 4, "limit", self.limit, "must be null or at least 4"),
        )


def part(listing: pd.DataFrame, config: SplitConfig) -> pd.DataFrame:
    """The rows of the listing to use: `config.limit` of them, stratified on split, class and group, in their order.

    Raises:
        SplitError: a class is so small that none of its images would be used.
    """
    if config.limit is None or config.limit >= len(listing):
        return listing
    used = listing[_take(listing, ["split", "class", "group"], config.limit, f"{config.seed} part")]
    if lost := sorted(set(listing["class"]) - set(used["class"])):
        raise SplitError(
            f"dataset.split.limit: {config.limit} images of {len(listing)} leave none of class {lost[0]!r}, which has "
            f"{(listing['class'] == lost[0]).sum()}: raise the limit, or leave the class out"
        )
    return used.reset_index(drop=True)


def assign(accepted: pd.DataFrame, config: SplitConfig, classes: Sequence[str] | None = None) -> pd.DataFrame:
    """The index: the accepted rows, in their order, with label (int64: the place in `classes`) and split.

    Args:
        accepted: path, class, split ("" in every row, or in none), group, width, height, pixel_sha256.
        config: how to split.
        classes: the classes in the order of their labels; by default those accepted, sorted by name.

    Raises:
        SplitError: fewer than two classes, a class without images in a split, or settings that the data contradict.
    """
    classes = sorted(set(accepted["class"])) if classes is None else list(classes)
    if unknown := sorted(set(accepted["class"]) - set(classes)):
        raise SplitError(f"the images have classes that the experiment does not know: {unknown}; known are {classes}")
    index = accepted.assign(split=_splits(accepted, config), label=accepted["class"].map(classes.index).astype("int64"))
    _check_filled(index, classes, {"train", "test", *index["split"]})
    return index[INDEX].reset_index(drop=True)


def exclude(index: pd.DataFrame, paths: Collection[str]) -> pd.DataFrame:
    """The index with the split `excluded` for some images: no row goes, so that row i stays row i of the image stores.

    Raises:
        SplitError: a class would have no image left in a split.
    """
    left = index.assign(split=index["split"].mask(index["path"].isin(paths), EXCLUDED))
    _check_filled(left, sorted(set(index["class"])), set(index["split"]))
    return left


def _splits(accepted: pd.DataFrame, config: SplitConfig) -> NDArray[np.object_]:
    split = accepted["split"].to_numpy(dtype=object, copy=True)
    without = split == ""
    if without.all():
        test = _take(accepted, ["class", "group"], round(config.test * len(split)), f"{config.seed} test")
        split = np.where(test, "test", "train").astype(object)
    elif without.any():
        raise SplitError(
            f"{without.sum()} of {len(split)} images have no split, the others have one: give all of them one, or none"
        )
    if not config.validation or "validation" in split:
        return split
    rest = np.flatnonzero(split == "train")
    count = round(config.validation * len(rest))
    split[rest[_take(accepted.iloc[rest], ["class", "group"], count, f"{config.seed} validation")]] = "validation"
    return split


def _take(table: pd.DataFrame, strata: list[str], count: int, salt: str) -> NDArray[np.bool_]:
    """Which rows of `table` to take: `count`, in proportion from every stratum and every leading part of it."""
    hashes = [hashlib.sha256(f"{salt} {path}".encode()).hexdigest() for path in table["path"]]
    order = table[strata].assign(hash=hashes).reset_index(drop=True).sort_values([*strata, "hash"]).index
    taken = np.zeros(len(table), dtype=np.bool_)
    taken[order[_spread(len(table), count)]] = True
    return taken


def _spread(n: int, k: int) -> NDArray[np.bool_]:
    """`k` of `n` places, evenly spread: any run of places has its share, rounded up or down."""
    reached = (np.arange(n + 1) * k + n // 2) // max(n, 1)
    return np.diff(reached) > 0


def _check_filled(index: pd.DataFrame, classes: Sequence[str], splits: Collection[str]) -> None:
    if len(classes) < 2:
        raise SplitError(f"only {len(classes)} class can be used, {list(classes)}; at least two are needed")
    counts = index.groupby(["split", "class"]).size()
    for split in sorted(splits):
        for name in classes:
            if (split, name) not in counts.index:
                raise SplitError(_lacking(name, split, index.loc[index["class"] == name, "split"]))


def _lacking(name: str, split: str, own: pd.Series[str]) -> str:
    if own.empty:
        return f"class {name!r} has no usable image (the quarantine table says why): mend some, or leave the class out"
    excluded = (own == EXCLUDED).sum()
    of_them = f", {excluded} of them excluded as duplicates," if excluded else ""
    return (
        f"class {name!r} has none of its {len(own)} usable images{of_them} in the {split} split: add images, change "
        "dataset.split (limit, test or validation), or leave the class out"
    )
