"""The names of a label table's columns, read without the rows: config can check them before any work."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from transferlab.core.data.listing.scan import IMAGE_SUFFIXES
from transferlab.core.validation import did_you_mean

PARQUET = ".parquet"
# What may separate columns, but for spaces: no letter, digit or quote, nor what is usual in names of files and columns.
_MARKS = re.compile(r"\t|[^\w\s\"'./\\()#%-]+")


def columns_of(file: Path, separator: str) -> list[str]:
    """Return the columns that a table's header names; none where it cannot be read, which whoever lists images tells.

    Args:
        file: CSV or other text, or Parquet.
        separator: of a text file; a regular expression when longer than one character.
    """
    try:
        if file.suffix.lower() == PARQUET:
            from pyarrow import parquet  # which config of other tables need not wait for

            return [str(name) for name in parquet.read_schema(file).names]
        with file.open(encoding="utf-8-sig", newline="") as lines:
            if len(separator) > 1:
                names = re.split(separator, next((line.strip() for line in lines if line.strip()), ""))
            else:
                names = next((row for row in csv.reader(lines, delimiter=separator, skipinitialspace=True) if row), [])
            return [name.strip() for name in names]
    except (OSError, ValueError, csv.Error, re.error):
        return []


def cure_for(column: str, known: Sequence[str], separator: str) -> str:
    """Say what to do about a column that a table has not: what it may be called, or which separator the table has."""
    if known and known[0].startswith("sep="):
        return "; its first line is a mark of Excel's: remove it"
    if any(PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES for name in known):
        return (
            f"; it has {list(known)}, which seems to be a row of an image: name the columns in dataset.layout.columns"
        )
    other = other_separator(known, separator) if len(known) == 1 else ""
    return other or did_you_mean(column, known) or f"; it has {list(known)}"


def cure_where_commas(column: str, known: Sequence[str]) -> str:
    """Say what to do about a column that a table has not whose columns commas must separate."""
    if len(known) == 1 and other_separator(known, ","):
        return "; its columns must be separated by commas"
    return did_you_mean(column, known) or f"; it has {list(known)}"


def other_separator(lines: Sequence[str], separator: str) -> str:
    """Say that a table's first lines seem to be separated by something else than the layout says; empty if not."""
    pattern = separator if len(separator) > 1 else re.escape(separator)
    lines = [line for line in map(str.strip, lines) if line]
    if not lines or re.search(pattern, lines[0]):
        return ""
    if lines[0].startswith("#"):
        return "; its first line seems to be a comment: remove it"
    marks = [Counter(_MARKS.findall(line)) for line in lines]
    mark = max(marks[0], key=lambda mark: (min(line[mark] for line in marks), marks[0][mark]), default="")
    if not mark and " " in lines[0]:
        mark = " "
    if not mark:
        return ""
    needed = r"\s+" if mark == " " else mark if len(mark) == 1 else re.escape(mark)
    return f"; its first line seems to be separated by {needed!r}: set dataset.layout.separator to it"
