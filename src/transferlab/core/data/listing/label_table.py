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

from transferlab.core.data.listing.labelled import account
from transferlab.core.data.listing.matching import Files, match
from transferlab.core.data.listing.scan import Found
from transferlab.core.data.listing.table import LayoutError, LeftOut, Listed
from transferlab.core.data.split.names import splits_by_name
from transferlab.core.validation import check, did_you_mean, pattern_problem


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
        """Return the class of every value; empty where it is no number."""
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
        folder: what those paths are relative to, itself relative to the data's root; a list where the images are in
            several folders.
        suffix: what to append to those paths, such as `.jpg` where the column has bare ids.
        label: the column with the class, or a threshold on a number.
        stratify: a column to stratify splits by besides the class.
        split: a column with train, validation or test, under their usual names.
        ignore: patterns of files and folders that are no part of the data, such as `*_mask.png`.
        group: what `stratify` was called; null.
    """

    name: Literal["label_table"] = "label_table"
    file: str
    separator: str = ","
    columns: tuple[str, ...] | None = None
    path: str = "path"
    folder: str | tuple[str, ...] = "."
    suffix: str = ""
    label: str | Threshold
    stratify: str | None = None
    split: str | None = None
    ignore: tuple[str, ...] = ()
    group: str | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        separator = pattern_problem(self.separator) if len(self.separator) > 1 else ""
        columns = self.columns or ()
        below = "must be a relative path below the data's root"
        check(
            (_inside(self.file), "file", self.file, below),
            (bool(self.folders) and all(map(_inside, self.folders)), "folder", self.folder, below),
            (bool(self.separator), "separator", self.separator, "must not be empty"),
            (not separator, "separator", self.separator, separator),
            (len(set(columns)) == len(columns), "columns", self.columns, "must not repeat a name"),
            (
                self.group is None,
                "group",
                self.group,
                "never kept groups together, it stratifies: rename it to `stratify`; to keep the images of a group on "
                "one side of every split, name the column in dataset.split.groups",
            ),
        )

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that paths may be relative to."""
        return (self.folder,) if isinstance(self.folder, str) else self.folder


def list_table(
    root: Path, layout: LabelTable, found: Sequence[Found], groups: str | None = None
) -> tuple[list[Listed], list[LeftOut]]:
    """Return the rows of the listing, and of what is left out.

    Args:
        root: the data's folder.
        layout: how to read the table.
        found: every file below the root.
        groups: the column with the groups that splits keep together.

    Raises:
        LayoutError: the table is missing, cannot be read, lacks a column, names a file twice or one outside the data's
            root, or has a class none of whose images is there.
    """
    file = root / layout.file
    if not file.is_file():
        raise LayoutError(f"dataset.layout.file: {file} does not exist")
    raw = _raw(file, layout)
    label = layout.label
    column = partial(_column, raw, layout)
    values = column(label.column if isinstance(label, Threshold) else label, "layout.label")
    wanted = [_paths(value, layout) for value in column(layout.path, "layout.path")]
    paths, near = match(wanted, Files(file.path for file in found), layout.file)
    table = pd.DataFrame({
        "path": paths,
        "class": label.classes(values) if isinstance(label, Threshold) else values,
        "split": _splits(column(layout.split, "layout.split"), layout) if layout.split else "",
        "stratify": column(layout.stratify, "layout.stratify") if layout.stratify else "",
        "group": column(groups, "split.groups") if groups else "",
    })  # fmt: skip
    return account(table, near, found, layout.file, {PurePosixPath(layout.file).as_posix()})


def _raw(file: Path, layout: LabelTable) -> pd.DataFrame:
    """Return the file's columns, all text.

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
    except (ValueError, re.error, pd.errors.ParserWarning) as error:  # ParserError and EmptyDataError are ValueErrors
        is_wide = isinstance(error, pd.errors.ParserWarning)
        what = "its rows have more columns than there are names" if is_wide else str(error).strip()
        with file.open(encoding="utf-8-sig", errors="replace") as lines:
            other = _other_separator(lines.readline(10_000).strip(), layout.separator)
        raise LayoutError(
            f"{file} cannot be read as a table: {what}; dataset.layout.separator is {layout.separator!r}{other}"
        ) from error


def _other_separator(line: str, separator: str) -> str:
    """Say that a line seems to be separated by something else than the layout says; empty where nothing tells."""
    pattern = separator if len(separator) > 1 else re.escape(separator)
    if not line or re.search(pattern, line):
        return ""
    counts = {mark: line.count(mark) for mark in (",", ";", "\t", "|", " ")}
    most = max(counts, key=lambda mark: counts[mark])
    if not counts[most]:
        return ""
    mark = r"\s+" if most == " " else most
    return f"; its first line seems to be separated by {mark!r}: set dataset.layout.separator to it"


def _column(raw: pd.DataFrame, layout: LabelTable, column: str, key: str) -> pd.Series[str]:
    if column not in raw.columns:
        known = [str(name) for name in raw.columns]
        other = _other_separator(known[0], layout.separator) if len(known) == 1 else ""
        cure = other or did_you_mean(column, known) or f"; it has {known}"
        raise LayoutError(f"dataset.{key}: {layout.file} has no column {column!r}{cure}")
    return raw[column].fillna("").str.strip()


def _paths(value: str, layout: LabelTable) -> list[str]:
    """Return where the file of a row may be."""
    if not value:
        raise LayoutError(f"{layout.file} has a row without a path (column {layout.path!r}): fill it or remove the row")
    relative = [PurePosixPath(folder) / (value.replace("\\", "/") + layout.suffix) for folder in layout.folders]
    if not all(_inside(str(path)) for path in relative):
        raise LayoutError(
            f"{layout.file} lists {value!r}, which is outside the data's root; paths must be relative to it"
        )
    return [path.as_posix() for path in relative]


def _splits(values: pd.Series[str], layout: LabelTable) -> pd.Series[str]:
    meant = splits_by_name(sorted(set(values)))
    unknown = sorted(set(values) - set(meant))
    if unknown:
        raise LayoutError(
            f"{layout.file} has {unknown[0]!r} in its column {layout.split!r}; known are train, validation and test, "
            "and the usual other names of theirs"
        )
    return values.map(meant)


def _inside(path: str) -> bool:
    relative = PurePosixPath(path)
    return not relative.is_absolute() and ".." not in relative.parts
