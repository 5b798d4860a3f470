"""The listing: one row for each candidate image, before anything is decoded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

LISTING = ["path", "class", "split", "group"]
LEFT_OUT = ["path", "status", "reason"]
SPLIT_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


class LayoutError(ValueError):
    """The folder does not hold what the layout says: the message names the folder or column, and the cure."""


def as_listing(rows: Iterable[tuple[str, str, str, str]]) -> pd.DataFrame:
    """Rows (path, class, split, group) as a table, sorted by path."""
    return pd.DataFrame(sorted(rows), columns=LISTING, dtype="str")


def as_left_out(rows: Iterable[tuple[str, str, str]]) -> pd.DataFrame:
    """Rows (path, status, reason) as a table, sorted by path."""
    return pd.DataFrame(sorted(rows), columns=LEFT_OUT, dtype="str")


def with_held_out_as_test(listing: pd.DataFrame) -> pd.DataFrame:
    """Without a test part the given validation part is the published held-out one: it becomes the test part.

    A listing with nothing but a training part has no given splits.
    """
    splits = set(listing["split"])
    if splits == {"train"}:
        return listing.assign(split="")
    if "validation" in splits and "test" not in splits:
        return listing.assign(split=listing["split"].replace("validation", "test"))
    return listing


def check_listing(listing: pd.DataFrame, root: Path) -> pd.DataFrame:
    """The listing itself, when it can become an experiment.

    Raises:
        LayoutError: fewer than two classes, or a class that a given split lacks.
    """
    classes = sorted(set(listing["class"]))
    if len(classes) < 2:
        found = f"only one class, {classes[0]!r}" if classes else "no image of any class"
        raise LayoutError(
            f"{root} has {found}; at least two are needed. If the classes are in a folder further down, name it in "
            "dataset.source (subfolder, folder or path)."
        )
    counts = listing.groupby(["split", "class"]).size()
    for split in sorted(set(listing["split"])):
        for name in classes:
            if (split, name) not in counts.index:
                raise LayoutError(
                    f"{root} has no image of class {name!r} in its {split} part, but in another part it has"
                )
    return listing
