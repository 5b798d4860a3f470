"""A table of labels: one row for each image."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import pandas as pd

from transferlab.core.data.listing.config import LabelTable, Threshold
from transferlab.core.data.listing.header import PARQUET, columns_of, cure_for, other_separator
from transferlab.core.data.listing.labelled import account
from transferlab.core.data.listing.matching import Files, match
from transferlab.core.data.listing.scan import Found
from transferlab.core.data.listing.table import LayoutError, LeftOut, Listed
from transferlab.core.data.split.names import splits_by_name
from transferlab.core.files.paths import stays_inside
from transferlab.core.validation import did_you_mean

WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")  # the first bytes of .xlsx, .ods and .xls


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
        cure = did_you_mean(layout.file, (path for path, *_ in found if path.count("/") <= layout.file.count("/")))
        raise LayoutError(f"dataset.layout.file: {file} does not exist{cure}")
    _check_folders(root, layout, found)
    raw = _raw(file, layout)
    label = layout.label
    column = partial(_column, raw, layout)
    values = column(label.column if isinstance(label, Threshold) else label, "layout.label")
    wanted = [_paths(value, layout) for value in column(layout.path, "layout.path")]
    paths, near = match(wanted, Files(file.path for file in found), layout.file)
    unlabelled = (
        f"no number for it in its column {label.column!r}" if isinstance(label, Threshold) else "no label for it"
    )
    table = pd.DataFrame({
        "path": paths,
        "class": _classes(label, values) if isinstance(label, Threshold) else values,
        "split": _splits(column(layout.split, "layout.split"), layout) if layout.split else "",
        "stratify": column(layout.stratify, "layout.stratify") if layout.stratify else "",
        "group": column(groups, "split.groups") if groups else "",
    })  # fmt: skip
    return account(table, near, found, layout.file, {PurePosixPath(layout.file).as_posix()}, unlabelled)


def _check_folders(root: Path, layout: LabelTable, found: Sequence[Found]) -> None:
    """Check that the folders of the layout are there, in any case and Unicode form."""
    missing = [folder for folder in layout.folders if not (root / folder).is_dir()]
    if missing:
        known = {parent.as_posix() for file in found for parent in PurePosixPath(file.path).parents}
        for folder in missing:
            if not Files(known).like(PurePosixPath(folder).as_posix()):
                raise LayoutError(
                    f"dataset.layout.folder: {root} has no folder {folder!r}{did_you_mean(folder, known)}"
                )


def _check_no_workbook(file: Path) -> None:
    with file.open("rb") as opened:
        if opened.read(8).startswith(WORKBOOKS):
            raise LayoutError(f"{file} is a workbook of Excel, or another archive: save the table as CSV in UTF-8")


def _raw(file: Path, layout: LabelTable) -> pd.DataFrame:
    """Return the file's columns, all text.

    Raises:
        LayoutError: it is no such table; the message says what the parser found.
    """
    if file.suffix.lower() == PARQUET:
        return _parquet(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            _check_no_workbook(file)
            table = pd.read_csv(
                file, sep=layout.separator, dtype="str", keep_default_na=False, skipinitialspace=True, index_col=False,
                engine="python" if len(layout.separator) > 1 else "c",
                header=None if layout.columns else "infer", names=list(layout.columns) if layout.columns else None,
            )  # fmt: skip
            table.attrs["header"] = columns_of(file, layout.separator)  # pandas calls the second of a name y.1
            return table if layout.columns else table.rename(columns=str.strip)
    except UnicodeDecodeError as error:
        raise LayoutError(f"{file} is not UTF-8 text: save it as UTF-8") from error
    except (ValueError, re.error, pd.errors.ParserWarning) as error:  # ParserError and EmptyDataError are ValueErrors
        is_wide = isinstance(error, pd.errors.ParserWarning)
        what = "its rows have more columns than there are names" if is_wide else str(error).strip()
        with file.open(encoding="utf-8-sig", errors="replace") as lines:
            other = other_separator([lines.readline(10_000) for _ in range(5)], layout.separator)
        raise LayoutError(
            f"{file} cannot be read as a table: {what}; dataset.layout.separator is {layout.separator!r}{other}"
        ) from error


def _column(raw: pd.DataFrame, layout: LabelTable, column: str, key: str) -> pd.Series[str]:
    if column not in raw.columns:
        cure = cure_for(column, [str(name) for name in raw.columns], layout.separator)
        raise LayoutError(f"dataset.{key}: {layout.file} has no column {column!r}{cure}")
    if f"{column}.1" in raw.columns and layout.columns is None and raw.attrs["header"].count(column) > 1:
        raise LayoutError(f"dataset.{key}: {layout.file} has several columns {column!r}: give each a name of its own")
    return raw[column].fillna("").str.strip()


def _paths(value: str, layout: LabelTable) -> list[str]:
    """Return where the file of a row may be."""
    if not value:
        raise LayoutError(f"{layout.file} has a row without a path (column {layout.path!r}): fill it or remove the row")
    relative = [PurePosixPath(folder) / (value.replace("\\", "/") + layout.suffix) for folder in layout.folders]
    if not all(stays_inside(str(path)) for path in relative):
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


def _classes(threshold: Threshold, values: pd.Series[str]) -> pd.Series[str]:
    """Return the class of every value; empty where it is no number."""
    numbers = pd.to_numeric(values, errors="coerce")
    classes = numbers.ge(threshold.threshold).map({True: threshold.above, False: threshold.below})
    return classes.where(numbers.notna(), "")


def _parquet(file: Path) -> pd.DataFrame:
    """Return the columns of a Parquet table as text, but for those with images or lists.

    Raises:
        LayoutError: it is no such table.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        fields = [field for field in parquet.read_schema(file) if not pa.types.is_nested(field.type)]
        names = [field.name for field in fields if not pa.types.is_binary(field.type)]
        table = pd.read_parquet(file, columns=names, dtype_backend="numpy_nullable")
    except (ValueError, OSError) as error:  # pyarrow's errors are ValueErrors
        raise LayoutError(f"{file} cannot be read as a Parquet table: {str(error).strip()}") from error
    if index := [name for name in table.index.names if name in names]:  # what pandas has saved as the index of the rows
        table = table.reset_index(level=index)
    return table.astype("string").fillna("").astype("str")
