"""The index: what of the listing is used, with every image's label and its split in each trial."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from transferlab.core.data.split.config import SplitConfig, SplitError
from transferlab.core.data.split.names import TEST, TRAIN, VALIDATION
from transferlab.core.data.split.plan import STRATA, SplitPlan
from transferlab.core.data.split.sampling import take

EXCLUDED = "excluded"
INDEX = ["path", "class", "label", "split", "stratify", "group", "width", "height", "pixel_sha256"]


def limited(listing: pd.DataFrame, config: SplitConfig) -> pd.DataFrame:
    """Return the rows to use, `config.limit` of them, stratified on split, class and stratify, in their order.

    Raises:
        SplitError: a class is so small that none of its images would be used.
    """
    if config.limit is None or config.limit >= len(listing):
        return listing
    used = listing[take(listing, ["split", *STRATA], config.limit, f"{config.seed} part")]
    if lost := sorted(set(listing["class"]) - set(used["class"])):
        raise SplitError(
            f"dataset.split.limit: {config.limit} images of {len(listing)} leave none of class {lost[0]!r}, which has "
            f"{(listing['class'] == lost[0]).sum()}: raise the limit, or leave the class out"
        )
    return used.reset_index(drop=True)


def assign(accepted: pd.DataFrame, config: SplitConfig, classes: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the index: the accepted rows, in their order, with label (int64: the place in `classes`) and splits.

    Column `split` is trial 0's; where trials have splits of their own there are also split_1, split_2, ...

    Args:
        accepted: path, class, split ("" in every row, or in none), stratify, group, width, height, pixel_sha256.
        config: how to split.
        classes: the classes in the order of their labels; by default those accepted, sorted by name.

    Raises:
        SplitError: fewer than two classes, a class without images in a split, or settings that the data contradict.
    """
    classes = sorted(set(accepted["class"])) if classes is None else list(classes)
    if unknown := sorted(set(accepted["class"]) - set(classes)):
        raise SplitError(f"the images have classes that the experiment does not know: {unknown}; known are {classes}")
    splits = SplitPlan(accepted, config).table().drop(columns="path")
    index = accepted.assign(**splits, label=accepted["class"].map(classes.index).astype("int64"))
    asked_for = {TRAIN, TEST, VALIDATION} if config.validation else {TRAIN, TEST}
    for column in map(str, splits.columns):
        _check_filled(index, column, classes, {*asked_for, *index[column]})
    return index[[*INDEX, *splits.columns[1:]]].reset_index(drop=True)


def split_columns(index: pd.DataFrame) -> list[str]:
    """Return the columns of the index that hold a split, trial 0's first."""
    return [name for name in index.columns if name == "split" or name.startswith("split_")]


def splits_of_trial(index: pd.DataFrame, trial: int) -> pd.Series[str]:
    """Return every image's split in a trial."""
    columns = split_columns(index)
    return index[columns[trial % len(columns)]]


def sorted_classes(index: pd.DataFrame) -> list[str]:
    """Return class names in the order of their labels."""
    return list(index.drop_duplicates("label").sort_values("label")["class"])


def as_first_trial(index: pd.DataFrame) -> pd.DataFrame:
    """Return the index in which all trials have the split of trial 0; it has as many columns, which share features."""
    return index.assign(**dict.fromkeys(split_columns(index), index["split"]))


def exclude(index: pd.DataFrame, paths: Collection[str], column: str = "split") -> pd.DataFrame:
    """Return the index with the split `excluded` for some images: no row goes, so that row i stays row i of the stores.

    Raises:
        SplitError: a class would have no image left in a split.
    """
    left = index.assign(**{column: index[column].mask(index["path"].isin(paths), EXCLUDED)})
    _check_filled(left, column, sorted(set(index["class"])), set(index[column]))
    return left


def _check_filled(index: pd.DataFrame, column: str, classes: Sequence[str], splits: Collection[str]) -> None:
    if len(classes) < 2:
        raise SplitError(f"only {len(classes)} class can be used, {list(classes)}; at least two are needed")
    counts = index.groupby([column, "class"]).size()
    for split in sorted(splits):
        for name in classes:
            if (split, name) not in counts.index:
                raise SplitError(_lacking(name, split, index[index["class"] == name], column))


def _lacking(name: str, split: str, own: pd.DataFrame, column: str) -> str:
    if own.empty:
        return f"class {name!r} has no usable image (the quarantine table says why): mend some, or leave the class out"
    excluded = (own[column] == EXCLUDED).sum()
    of_them = f", {excluded} of them excluded as duplicates," if excluded else ""
    groups = own["group"].nunique()
    grouped = f" ({groups} groups, each of which stays whole)" if (own["group"] != "").any() else ""
    where = f"the {split} split" + ("" if column == "split" else f" of re-split {column.removeprefix('split_')}")
    return (
        f"class {name!r} has none of its {len(own)} usable images{of_them} in {where}{grouped}: add images, change "
        "dataset.split (limit, test or validation), or leave the class out"
    )
