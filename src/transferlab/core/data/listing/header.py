"""The names of a label table's columns, read without the rows: config can check them before any work."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from transferlab.core.validation import did_you_mean

PARQUET = ".parquet"


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
            if len(separator) == 1:
                return next((row for row in csv.reader(lines, delimiter=separator, skipinitialspace=True) if row), [])
            return re.split(separator, next((line.strip() for line in lines if line.strip()), ""))
    except (OSError, ValueError, csv.Error, re.error):
        return []


def cure_for(column: str, known: Sequence[str], separator: str) -> str:
    """Say what to do about a column that a table has not: what it may be called, or which separator the table has."""
    other = other_separator(known[0], separator) if len(known) == 1 else ""
    return other or did_you_mean(column, known) or f"; it has {list(known)}"


def other_separator(line: str, separator: str) -> str:
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
