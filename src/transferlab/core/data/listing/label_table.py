"""A table of labels: one row for each image."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

import pandas as pd

from transferlab.core.data.listing.scan import Found
from transferlab.core.data.listing.table import SPLIT_NAMES, LayoutError
from transferlab.core.validation import check, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Two classes from a number: `above` where it is at least the threshold, else `below`.

    Attributes:
        column: the column with the number.
        threshold: the smallest number that belongs to `above`.
        below: the class below the threshold.
        above: the class from the threshold on.
    """

    column: str
    threshold: float
    below: str
    above: str

    def __post_init__(self) -> None:
        """Check the fields."""
        check(
            (self.below != self.above, "above", self.above, "must differ from below"),
            (self.threshold == self.threshold, "threshold", self.threshold, "must be a number"),
        )

    def classes(self, values: pd.Series[str]) -> pd.Series[str]:
        """The class of every value; empty where it is no number."""
        numbers = pd.to_numeric(values, errors="coerce")
        classes = numbers.ge(self.threshold).map({True: self.above, False: self.below})
        return classes.where(numbers.notna(), "")


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    r"""A text file with one row for each image.

    Attributes:
        name: the kind of layout.
        file: the table, relative to the data's root.
        separator: what separates columns, a regular expression when longer than one character, such as `\s+`.
        columns: the names of the columns, for a file without a header.
        path: the column with the image's path.
        folder: what those paths are relative to, itself relative to the data's root.
        suffix: what to append to those paths, such as `.jpg` where the column has bare ids.
        label: the column with the class, or a threshold on a number.
        group: a column to stratify on besides the class.
        split: a column with train, validation (val, valid) or test.
    """

    name: Literal["label_table"] = "label_table"
    file: str
    separator: str = ","
    columns: tuple[str, ...] | None = None
    path: str = "path"
    folder: str = "."
    suffix: str = ""
    label: str | Threshold
    group: str | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        check(
            (_inside(self.file), "file", self.file, "must be a relative path below the data's root"),
            (_inside(self.folder), "folder", self.folder, "must be a relative path below the data's root"),
            (bool(self.separator), "separator", self.separator, "must not be empty"),
            (
                len(set(self.columns or ())) == len(self.columns or ()),
                "columns",
                self.columns,
                "must not repeat a name",
            ),
        )


def list_table(
    root: Path, layout: LabelTable, found: Sequence[Found]
) -> tuple[list[tuple[str, str, str, str]], list[tuple[str, str, str]]]:
    """The rows of the listing, and of what is left out.

    Raises:
        LayoutError: the table is missing, cannot be read, lacks a column, names a file twice or one outside the data's
            root, or has a class none of whose images is there.
    """
    table = _read(root, layout)
    images = {file.path: file.reason for file in found}
    rows, left_out = [], []
    for path, label, split, group in zip(table["path"], table["class"], table["split"], table["group"], strict=True):
        if path not in images:
            left_out.append((path, "quarantined", f"{layout.file} lists it, but there is no such file."))
        elif reason := images[path]:
            left_out.append((path, "quarantined", f"{layout.file} lists it, but: {reason}"))
        elif not label:
            left_out.append((path, "quarantined", f"{layout.file} has no label for it."))
        else:
            rows.append((path, label, split, group))
    listed = set(table["path"])
    for file in found:
        if file.path == PurePosixPath(layout.file).as_posix():
            left_out.append((file.path, "ignored", "It is the table of labels."))
        elif file.path not in listed:
            left_out.append((file.path, file.status, file.reason or f"{layout.file} does not list it."))
    _check_no_empty_class(layout, table, rows, left_out)
    return rows, left_out


def _check_no_empty_class(
    layout: LabelTable, table: pd.DataFrame, rows: Sequence[tuple[str, ...]], left_out: Sequence[tuple[str, str, str]]
) -> None:
    filled = {label for _, label, *_ in rows} | {""}
    for name, paths in table.groupby("class")["path"]:
        if name not in filled:
            lost = set(paths)
            first = next(f"{path}: {reason}" for path, _, reason in left_out if path in lost)
            raise LayoutError(
                f"{layout.file} has the class {name!r}, but none of its {len(paths)} images can be used (the first is "
                f"{first}): add them, mend dataset.layout.folder or suffix, or take the class out of the table"
            )


def _raw(file: Path, layout: LabelTable) -> pd.DataFrame:
    """The file's columns, all text.

    Raises:
        LayoutError: it is no such table; the message says what the parser found.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                file, sep=layout.separator, dtype="str", keep_default_na=False, skipinitialspace=True, index_col=False,
                engine="python" if len(layout.separator) > 1 else "c",
                header=None if layout.columns else "infer", names=list(layout.columns) if layout.columns else None,
            )  # fmt: skip
    except UnicodeDecodeError as error:
        raise LayoutError(f"{file} is not UTF-8 text: save it as UTF-8") from error
    except re.error as error:
        raise LayoutError(
            f"dataset.layout.separator: {layout.separator!r} is no regular expression: {error}"
        ) from error
    except (ValueError, pd.errors.ParserWarning) as error:  # pandas' ParserError and EmptyDataError are ValueErrors
        is_wide = isinstance(error, pd.errors.ParserWarning)
        what = "its rows have more columns than there are names" if is_wide else str(error).strip()
        raise LayoutError(
            f"{file} cannot be read as a table: {what}; dataset.layout.separator is {layout.separator!r}"
        ) from error


def _read(root: Path, layout: LabelTable) -> pd.DataFrame:
    """The table with the columns path, class, split and group, all text."""
    file = root / layout.file
    if not file.is_file():
        raise LayoutError(f"dataset.layout.file: {file} does not exist")
    raw = _raw(file, layout)
    label = layout.label
    values = _column(raw, label.column if isinstance(label, Threshold) else label, "label", layout)
    paths = [_path(path, layout) for path in _column(raw, layout.path, "path", layout)]
    table = pd.DataFrame({
        "path": paths,
        "class": label.classes(values) if isinstance(label, Threshold) else values,
        "split": _column(raw, layout.split, "split", layout).map(partial(_split, layout)) if layout.split else "",
        "group": _column(raw, layout.group, "group", layout) if layout.group else "",
    })  # fmt: skip
    twice = table["path"][table["path"].duplicated()]
    if len(twice):
        raise LayoutError(f"{file} lists {twice.iloc[0]!r} more than once ({len(twice)} such rows): keep one row each")
    return table


def _column(raw: pd.DataFrame, column: str, key: str, layout: LabelTable) -> pd.Series[str]:
    if column not in raw.columns:
        known = [str(name) for name in raw.columns]
        cure = did_you_mean(column, known) or f"; it has {known}"
        raise LayoutError(f"dataset.layout.{key}: {layout.file} has no column {column!r}{cure}")
    return raw[column].fillna("").str.strip()


def _path(value: str, layout: LabelTable) -> str:
    if not value:
        raise LayoutError(f"{layout.file} has a row without a path (column {layout.path!r}): fill it or remove the row")
    relative = PurePosixPath(layout.folder) / (value.replace("\\", "/") + layout.suffix)
    if not _inside(str(relative)):
        raise LayoutError(
            f"{layout.file} lists {value!r}, which is outside the data's root; paths must be relative to it"
        )
    return relative.as_posix()


def _split(layout: LabelTable, value: str) -> str:
    if value.lower() not in SPLIT_NAMES:
        raise LayoutError(f"{layout.file} has {value!r} in its column {layout.split!r}; known are {list(SPLIT_NAMES)}")
    return SPLIT_NAMES[value.lower()]


def _inside(path: str) -> bool:
    relative = PurePosixPath(path)
    return not relative.is_absolute() and ".." not in relative.parts
