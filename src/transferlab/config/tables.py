"""Checks the columns of a label table, where it is on this machine already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from transferlab.config.schema import Dataset
from transferlab.core.data.listing.config import LabelTable, Threshold
from transferlab.core.data.listing.header import columns_of, cure_for
from transferlab.core.data.sources import FolderSource
from transferlab.core.validation import Problem


def missing_columns(dataset: Dataset) -> Iterator[Problem]:
    """Yield the columns that the layout or the split names and the table has not, or that there is no such table."""
    layout, groups = dataset.layout, dataset.split.groups
    if not isinstance(layout, LabelTable):
        return
    root = Path(dataset.source.path).expanduser() if isinstance(dataset.source, FolderSource) else None
    if root is not None and root.is_dir() and not (root / layout.file).is_file():
        yield Problem("dataset.layout.file", layout.file, f"there is no {root / layout.file}")
        return
    known = layout.columns or (columns_of(root / layout.file, layout.separator) if root is not None else ())
    label = layout.label
    wanted = {
        "layout.label.column" if isinstance(label, Threshold) else "layout.label": (
            label.column if isinstance(label, Threshold) else label
        ),
        "layout.path": layout.path,
        "layout.stratify": layout.stratify,
        "layout.split": layout.split,
        "split.groups": groups if isinstance(groups, str) else None,
    }
    where = "dataset.layout.columns" if layout.columns else layout.file
    for key, column in wanted.items():
        if known and column is not None and column not in known:
            cure = cure_for(column, known, layout.separator)
            yield Problem(f"dataset.{key}", column, f"{where} has no such column{cure}")
