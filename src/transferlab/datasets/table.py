"""Tables: pandas DataFrames as CSV (to open anywhere) or Parquet (typed, small), by the file's suffix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO

import pandas as pd
from kedro_datasets._typing import TablePreview

from transferlab.datasets.atomic import WholeFile

# Columns with names that users chose: a class called 007, 1 or True stays what it is.
TEXT = dict.fromkeys(("class", "truth", "prediction", "path", "path_a", "path_b"), "str")


class TableDataset(WholeFile[pd.DataFrame, pd.DataFrame]):
    """A DataFrame without its index; Parquet keeps the types, and notices a flipped bit in the values."""

    def write(self, data: pd.DataFrame, file: BinaryIO) -> None:
        """Write CSV (UTF-8) or Parquet."""
        if self._filepath.suffix == ".parquet":
            data.to_parquet(file, engine="pyarrow", index=False, write_page_checksum=True)
        else:
            data.to_csv(file, index=False)

    def read(self, path: Path) -> pd.DataFrame:
        """Read it back; in CSV, only an empty field is missing: a class may be called `NA` or `null`."""
        if path.suffix == ".parquet":
            return pd.read_parquet(path, engine="pyarrow", page_checksum_verification=True)
        return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=TEXT)

    def preview(self, nrows: int = 40) -> TablePreview:
        """Show the first rows in Kedro-Viz."""
        return TablePreview(json.loads(self.load().head(nrows).to_json(orient="split")))
