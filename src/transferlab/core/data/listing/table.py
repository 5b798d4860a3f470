"""The listing: one row for each candidate image, before anything is decoded."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import pandas as pd

from transferlab.core.errors import MendableError

logger = logging.getLogger(__name__)

LISTING = ["path", "class", "split", "group"]
LEFT_OUT = ["path", "status", "reason"]
SPLIT_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


class LayoutError(MendableError):
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
    """The listing itself, when it can become an experiment; a warning where two classes look like one.

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
    alike = alike_names(classes)
    counts = listing.groupby(["split", "class"]).size()
    for split in sorted(set(listing["split"])):
        for name in classes:
            if (split, name) not in counts.index:
                same = "".join(f"; {_differ(names)}" for names in alike if name in names)
                raise LayoutError(
                    f"{root} has no image of class {name!r} in its {split} part, but in another part it has{same}"
                )
    for names in alike:
        logger.warning("%s: %s; they are kept apart", root, _differ(names))
    return listing


def alike_names(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that are told apart by case, by spaces at the ends or by their Unicode form only."""

    def folded(name: str) -> str:
        return unicodedata.normalize("NFKC", name).strip().casefold()

    groups = (list(group) for _, group in groupby(sorted(names, key=folded), folded))
    return [group for group in groups if len(group) > 1]


def _differ(names: Iterable[str]) -> str:
    """ASCII, since the Unicode forms of a name look the same."""
    return f"the classes {' and '.join(map(ascii, names))} differ in case, spaces or Unicode form only"
