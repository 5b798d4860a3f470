"""The listing: one row for each candidate image, before anything is decoded."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from transferlab.core.errors import MendableError

logger = logging.getLogger(__name__)

LISTING = ["path", "class", "split", "stratify", "group"]
LEFT_OUT = ["path", "status", "reason"]
_NUMBER = re.compile(r"-?\d+(\.\d*)?")


class LayoutError(MendableError):
    """The folder does not hold what the layout says: the message names the folder or column, and the cure."""


class Listed(NamedTuple):
    """A candidate image: a row of the listing.

    Attributes:
        path: relative to the root (POSIX).
        label: the name of its class.
        split: train, validation or test where the data say it, else empty.
        stratify: what else than the class splits are stratified by.
        group: the images that stay on one side of every split have the same one; empty without groups.
    """

    path: str
    label: str
    split: str = ""
    stratify: str = ""
    group: str = ""


class LeftOut(NamedTuple):
    """A file that is no candidate image, or a label without one: a row of the quarantine.

    Attributes:
        path: relative to the root (POSIX).
        status: `ignored` where it is no part of the data, `quarantined` where it should have been.
        reason: a sentence.
    """

    path: str
    status: str
    reason: str


def as_listing(rows: Iterable[Listed]) -> pd.DataFrame:
    """Return the rows as a table, sorted by path."""
    return pd.DataFrame(sorted(rows), columns=LISTING, dtype="str")


def as_left_out(rows: Iterable[LeftOut | tuple[str, str, str]]) -> pd.DataFrame:
    """Return the rows (path, status, reason) as a table, sorted by path."""
    return pd.DataFrame(sorted(rows), columns=LEFT_OUT, dtype="str")


def check_listing(listing: pd.DataFrame, root: Path, cure: str = "") -> pd.DataFrame:
    """Return the listing itself when it can become an experiment; warn where two classes look like one.

    Args:
        listing: the table.
        root: the data's folder, for messages.
        cure: what to do where there are fewer than two classes.

    Raises:
        LayoutError: fewer than two classes, or a class that a given split lacks.
    """
    classes = sorted(set(listing["class"]))
    if len(classes) < 2:
        found = f"only one class, {classes[0]!r}" if classes else "no image of any class"
        raise LayoutError(f"{root} has {found}; at least two are needed. {cure}".rstrip())
    alike = alike_names(classes)
    counts = listing.groupby(["split", "class"]).size()
    for split in sorted(set(listing["split"])):
        for name in classes:
            if (split, name) not in counts.index:
                same = "".join(f"; {_differ(names)}" for names in alike if name in names)
                raise LayoutError(
                    f"{root} has no image of class {name!r} in its {split} part, but in another part it has{same}: add "
                    "some, or leave the class out (dataset.layout.ignore)"
                )
    for names in alike:
        logger.warning("%s: %s; they are kept apart", root, _differ(names))
    return listing


def alike_names(names: Iterable[str]) -> list[list[str]]:
    """Group the names that are told apart by case, by spaces at the ends, by Unicode form or as 1 and 1.0 only."""

    def folded(name: str) -> str:
        plain = unicodedata.normalize("NFKC", name).strip().casefold()
        return plain.rstrip("0").removesuffix(".") if "." in plain and _NUMBER.fullmatch(plain) else plain

    groups = (list(group) for _, group in groupby(sorted(names, key=folded), folded))
    return [group for group in groups if len(group) > 1]


def _differ(names: Iterable[str]) -> str:
    """Show names in ASCII, since the Unicode forms of a name look the same."""
    names = list(names)
    how = "the way a number is written" if all(map(_NUMBER.fullmatch, names)) else "case, spaces or Unicode form"
    return f"the classes {' and '.join(map(ascii, names))} differ in {how} only"
