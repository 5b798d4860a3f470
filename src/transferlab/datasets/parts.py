"""A long table in the making: a folder of parts, from which a killed process goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from transferlab.core.errors import MendableError
from transferlab.core.files.atomic import lock, whole_file
from transferlab.core.files.folders import remove, sweep
from transferlab.datasets.folders import FolderDataset

_ABOUT, _LOCK = "about.json", ".lock"


class PartsError(MendableError):
    """A table that another process is making."""


class TableParts:
    """The parts that are finished, in order; each is written whole or not at all. Make it with `opened`.

    Attributes:
        folder: holds a Parquet file per part.
        rows: how many rows are finished.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = sorted(folder.glob("*.parquet"))
        self.rows = sum(pq.read_metadata(file).num_rows for file in self._files)

    def append(self, rows: pd.DataFrame) -> None:
        """Add a part."""
        file = self.folder / f"{len(self._files):08d}.parquet"
        with whole_file(file) as opened:
            rows.to_parquet(opened, engine="pyarrow", index=False, write_page_checksum=True)
        self._files.append(file)
        self.rows += len(rows)

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """Read the parts in order."""
        for file in self._files:
            yield pd.read_parquet(file, page_checksum_verification=True)


@contextmanager
def opened(folder: Path, key: str) -> Iterator[TableParts]:
    """Open the parts of a table, alone.

    Args:
        folder: made if it is not there. What is in it of another key is removed.
        key: says all that the rows depend on.

    Raises:
        PartsError: another process has them open.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _LOCK).touch()
    try:
        with lock(folder / _LOCK):
            sweep(folder)
            if _key_of(folder) != key:
                for file in folder.glob("*.parquet"):
                    file.unlink()
                with whole_file(folder / _ABOUT) as about:
                    about.write(json.dumps({"key": key}).encode())
            yield TableParts(folder)
    except BlockingIOError as error:
        raise PartsError(f"{folder}: another process is making this table; wait for it, or stop it") from error


def _key_of(folder: Path) -> str | None:
    try:
        found = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(found["key"]) if isinstance(found, dict) and "key" in found else None


class UnfinishedTable(FolderDataset):
    """The folder of a table's parts; gone when the table is saved (`confirms` of the node)."""

    def confirm(self) -> None:
        """Remove the parts: the table has their rows."""
        remove(self.path)
