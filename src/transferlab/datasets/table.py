"""Tables: pandas DataFrames as CSV (to open anywhere) or Parquet (typed, small), by the file's suffix."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from kedro.io import Version
from kedro_datasets._typing import TablePreview

from transferlab.core.files.atomic import whole_file
from transferlab.datasets.atomic import WholeFile
from transferlab.datasets.columns import COLUMNS, check_columns

# A spreadsheet runs a cell that begins so as a formula (OWASP, "CSV Injection"). A quote before it makes it text, and
# one before a quote keeps the two apart.
_FORMULA = tuple("=+-@\t\r'")
# Columns that say where a row comes from.
_ORIGIN = frozenset({"experiment", "split", "selection", "run_id", "checkpoint_version"})
# A field of a row, quoted or not, and what ends it.
_FIELD = re.compile(r'(?:"(?P<quoted>(?:[^"]|"")*)"|(?P<bare>[^,\n]*))(?P<end>,|\n|$)')


class TableDataset(WholeFile[pd.DataFrame, pd.DataFrame]):
    """A DataFrame without its index; Parquet keeps the types, and notices a flipped bit in the values.

    In CSV text is quoted and numbers are not, which tells a class called 007, inf or True from a number. Only an empty
    field is missing: a class may be called `NA` or `null`.
    """

    def __init__(
        self,
        *,
        filepath: str,
        content: str | None = None,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the file and, of `COLUMNS`, what it must hold; by default anything."""
        super().__init__(filepath=filepath, version=version, metadata=metadata)
        self._columns = COLUMNS[content] if content else None

    def write(self, data: pd.DataFrame, file: BinaryIO) -> None:
        """Write CSV (UTF-8) or Parquet."""
        if self._filepath.suffix == ".parquet":
            data.to_parquet(file, engine="pyarrow", index=False, write_page_checksum=True)
        else:
            _map_text(data, _guard).to_csv(file, index=False, quoting=csv.QUOTE_NONNUMERIC)

    def read(self, path: Path) -> pd.DataFrame:
        """Read it back.

        Raises:
            ValueError: it is no table, or one of another kind.
        """
        table = self._read(path)
        if self._columns:
            check_columns(table, self._columns)
        return table

    def _read(self, path: Path) -> pd.DataFrame:
        if path.suffix == ".parquet":
            return pd.read_parquet(path, engine="pyarrow", page_checksum_verification=True)
        kinds = dict.fromkeys(_text_columns(path), "str")
        return _map_text(
            pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=kinds),
            _unguard,
        )

    def preview(self, nrows: int = 40) -> TablePreview:
        """Show the first rows in Kedro-Viz; the columns that say where rows come from stand last."""
        rows = self.load().head(nrows)
        columns = sorted(rows.columns, key=_ORIGIN.__contains__)
        return TablePreview(json.loads(rows[columns].to_json(orient="split")))


SUFFIXES = (".csv", ".parquet")


@contextmanager
def written_in_parts(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Write a table, whole or not at all, without holding it: the function given appends rows.

    All parts have the columns and types of the first; a column that is not numeric is text.

    Raises:
        OSError: it cannot be written.
    """
    with whole_file(path) as file, ExitStack() as held:
        parquet: pq.ParquetWriter | None = None
        is_first = True

        def append(rows: pd.DataFrame) -> None:
            nonlocal parquet, is_first
            if path.suffix == ".parquet":
                if parquet is None:
                    parquet = held.enter_context(pq.ParquetWriter(file, _schema(rows), write_page_checksum=True))
                parquet.write_table(pa.Table.from_pandas(rows, parquet.schema, preserve_index=False))
            else:
                _map_text(rows, _guard).to_csv(file, index=False, header=is_first, quoting=csv.QUOTE_NONNUMERIC)
            is_first = False

        yield append


def _schema(rows: pd.DataFrame) -> pa.Schema:
    return pa.schema([(name, _kind(rows[name])) for name in rows.columns])


def _kind(column: pd.Series) -> pa.DataType:
    if pd.api.types.is_integer_dtype(column):
        return pa.int64()
    return pa.float64() if pd.api.types.is_numeric_dtype(column) else pa.string()


def _text_columns(path: Path) -> list[str]:
    """Name the columns whose first field that is not missing is quoted."""
    text = path.read_bytes().decode(errors="replace")
    names: list[str] = []
    kinds: dict[str, bool] = {}
    place, column, is_header = 0, 0, True
    while place < len(text):
        field = _FIELD.match(text, place)
        if field is None or (not is_header and (column >= len(names) or len(kinds) == len(names))):
            break
        quoted, bare = field["quoted"], field["bare"]
        if is_header:
            names.append(quoted.replace('""', '"') if quoted is not None else bare)
        elif quoted or bare:
            kinds.setdefault(names[column], bool(quoted))
        place, column = field.end(), column + 1
        if field["end"] != ",":
            column, is_header = 0, False
    return [name for name, is_text in kinds.items() if is_text]


def _map_text(data: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """Change every cell that is text."""
    texts = [name for name in data.columns if not pd.api.types.is_numeric_dtype(data[name])]
    return data.assign(
        **{name: data[name].map(lambda cell: change(cell) if isinstance(cell, str) else cell) for name in texts}
    )


def _guard(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _unguard(cell: str) -> str:
    return cell[1:] if cell.startswith("'") else cell
