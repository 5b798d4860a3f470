"""Accounts for images that a table labels: for every row of it and every file that there is."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set

import pandas as pd

from transferlab.core.data.listing.scan import Found
from transferlab.core.data.listing.table import LayoutError, LeftOut, Listed

logger = logging.getLogger(__name__)

# From this share of rows on, missing files are warned of.
MANY = 0.05


def account(
    table: pd.DataFrame,
    near: Mapping[str, Sequence[str]],
    found: Sequence[Found],
    source: str,
    tables: Set[str],
    unlabelled: str = "no label for it",
) -> tuple[list[Listed], list[LeftOut]]:
    """Return the rows of the listing, and of what is left out.

    Args:
        table: path, class, split, stratify and group of every row, all text.
        near: files that the path of a row without a file may mean.
        found: every file below the root.
        source: what lists the images, for messages.
        tables: the files that are tables of labels themselves.
        unlabelled: what a row without a class has not, for messages.

    Raises:
        LayoutError: a file is named twice, an image has no group where others have one, or a class has no image.
    """
    if not len(table):
        raise LayoutError(f"{source} has no rows: it needs one for each image")
    twice = table["path"][table["path"].duplicated()]
    if len(twice):
        raise LayoutError(
            f"{source} lists {twice.iloc[0]!r} more than once ({len(twice)} such rows): keep one row each"
        )
    reasons = {file.path: file.reason for file in found}
    rows: list[Listed] = []
    left_out: list[LeftOut] = []
    for row in map(Listed._make, table[["path", "class", "split", "stratify", "group"]].itertuples(index=False)):
        if row.path not in reasons:
            meant = _did_you_mean(near.get(row.path, ()))
            left_out.append(LeftOut(row.path, "quarantined", f"{source} lists it, but there is no such file{meant}."))
        elif reason := reasons[row.path]:
            left_out.append(LeftOut(row.path, "quarantined", f"{source} lists it, but: {reason}"))
        elif not row.label:
            left_out.append(LeftOut(row.path, "quarantined", f"{source} has {unlabelled}."))
        else:
            rows.append(row)
    _warn_of_missing(len(left_out), len(table), left_out, source)
    listed = set(table["path"])
    for file in found:
        if file.path in tables:
            left_out.append(LeftOut(file.path, "ignored", "It is a table of labels."))
        elif file.path not in listed:
            left_out.append(LeftOut(file.path, file.status, file.reason or f"{source} does not list it."))
    _check_no_empty_class(table, rows, left_out, source)
    return rows, left_out


def _did_you_mean(near: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(sorted(near)[:3])}?".removesuffix("?") if near else ""


def _warn_of_missing(missing: int, rows: int, left_out: Sequence[LeftOut], source: str) -> None:
    if missing >= MANY * rows and missing:
        logger.warning(
            "%s: %d of its %d rows (%.0f%%) have no image that can be used; the first is %s: %s",
            source, missing, rows, 100 * missing / rows, left_out[0].path, left_out[0].reason,
        )  # fmt: skip


def _check_no_empty_class(
    table: pd.DataFrame, rows: Sequence[Listed], left_out: Sequence[LeftOut], source: str
) -> None:
    filled = {row.label for row in rows} | {""}
    for name, paths in table.groupby("class")["path"]:
        if name not in filled:
            lost = set(paths)
            first = next(f"{path}: {reason}" for path, _, reason in left_out if path in lost)
            raise LayoutError(
                f"{source} has the class {name!r}, but none of its {len(paths)} images can be used (the first is "
                f"{first}): add them, mend dataset.layout.folder or suffix, or take the class out of the table"
            )
