"""Images to predict: files, folders, globs and tables of paths, with their labels where those are known."""

from __future__ import annotations

import glob
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from transferlab.core.data.listing.scan import printable, walk
from transferlab.core.errors import MendableError
from transferlab.core.validation import did_you_mean

PATHS = ("path", "file_name")
LABEL = "label"


class SourceError(MendableError):
    """A source without images, or one that cannot be read."""


class Item(NamedTuple):
    """A file to predict.

    Attributes:
        path: the file.
        label: its class, where that is known.
        reason: why it cannot be used, where that is known before it is read.
    """

    path: Path
    label: str | None = None
    reason: str | None = None


def find_images(sources: Sequence[str], classes: Collection[str]) -> list[Item]:
    """List the images of all sources, in order.

    Args:
        sources: each an image file, a folder (with all folders below it), a glob, or a CSV table with a column `path`
            (or `file_name`), relative to the table, and maybe a column `label`.
        classes: of the model. Where every file that is in no table lies in a folder named after a class, that is its
            label.

    Raises:
        SourceError: a source is not there, holds no image, or is a table that cannot be read or has another label.
    """
    items: list[Item] = []
    for source in sources:
        found = list(_read_table(Path(source), classes) if _is_table(source) else _look(source))
        if not found:
            raise SourceError(f"{source} holds no image: give image files, a folder, a glob, or a CSV with paths")
        items += found
    if any(item.label for item in items) or not _are_class_folders(items, classes):
        return items
    return [item._replace(label=item.path.parent.name) for item in items]


def _are_class_folders(items: Sequence[Item], classes: Collection[str]) -> bool:
    known = frozenset(classes)
    return all(item.path.parent.name in known for item in items)


def _is_table(source: str) -> bool:
    return Path(source).suffix.lower() == ".csv" and Path(source).is_file()


def _look(source: str) -> Iterator[Item]:
    """Yield the files of a folder, a glob, or the file itself."""
    path = Path(source)
    if path.is_dir():
        for found in walk(path):
            if not found.reason or found.status == "quarantined":
                yield Item(path / found.path, reason=found.reason or None)
    elif path.exists():
        yield _file(path)
    elif glob.has_magic(source):
        for name in sorted(glob.glob(source, recursive=True)):  # noqa: PTH207 - the pattern may be absolute
            if Path(name).is_file():
                yield _file(Path(name))
    else:
        raise SourceError(f"{source} does not exist: give image files, a folder, a glob, or a CSV with paths")


def _file(path: Path) -> Item:
    written = printable(str(path))
    return Item(path) if written == str(path) else Item(Path(written), reason="Its name is not UTF-8: rename it.")


def _read_table(file: Path, classes: Collection[str]) -> Iterator[Item]:
    try:
        table = pd.read_csv(
            file, dtype="str", keep_default_na=False, skipinitialspace=True, index_col=False, encoding="utf-8-sig"
        ).rename(columns=str.strip)
    except ValueError as error:  # of pandas, and text that is not UTF-8
        raise SourceError(f"{file} cannot be read as a CSV table: {str(error).strip()}") from error
    column = next((name for name in PATHS if name in table.columns), None)
    if column is None:
        known = [str(name) for name in table.columns]
        raise SourceError(f"{file} has no column 'path'{did_you_mean('path', known) or f'; it has {known}'}")
    labels = table[LABEL].str.strip() if LABEL in table.columns else [""] * len(table)
    for line, (path, label) in enumerate(zip(table[column], labels, strict=True), 2):
        if not path.strip():
            raise SourceError(f"{file}, line {line}: its column {column!r} is empty: fill it or remove the line")
        if label and label not in classes:
            near = did_you_mean(label, classes) or f"; its classes are {', '.join(list(classes)[:10])}"
            raise SourceError(f"{file}, line {line}: {label!r} is no class of the model{near}")
        yield _file(file.parent / path.strip().replace("\\", "/"))._replace(label=label or None)
