"""An image folder of Hugging Face's `datasets`: `metadata.csv` or `metadata.jsonl` beside the images.

The format is described at https://huggingface.co/docs/datasets/image_dataset (ImageFolder): every table has a column
`file_name`, relative to the table's own folder; parts of the data are folders such as `train` and `test`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from transferlab.core.data.listing.config import ImageFolder
from transferlab.core.data.listing.header import cure_where_commas
from transferlab.core.data.listing.labelled import account
from transferlab.core.data.listing.matching import Files, match
from transferlab.core.data.listing.scan import Found
from transferlab.core.data.listing.table import LayoutError, LeftOut, Listed
from transferlab.core.data.split.names import splits_by_name
from transferlab.core.files.paths import stays_inside

METADATA = ("metadata.csv", "metadata.jsonl")
FILE_NAME = "file_name"


def metadata_files(found: Sequence[Found]) -> list[str]:
    """Return the paths of the metadata tables among the files of a folder."""
    return [file.path for file in found if PurePosixPath(file.path).name in METADATA and file.status == "ignored"]


def list_image_folder(
    root: Path, layout: ImageFolder, found: Sequence[Found], groups: str | None = None
) -> tuple[list[Listed], list[LeftOut]]:
    """Return the rows of the listing, and of what is left out. Arguments and errors as `list_table`."""
    files = metadata_files(found)
    if not files:
        raise LayoutError(f"{root} has no {' or '.join(METADATA)}, neither itself nor in a folder of its")
    images = Files(file.path for file in found)
    tables: list[pd.DataFrame] = []
    near: dict[str, list[str]] = {}
    for file in files:
        table, meant = _table(root, file, layout, groups, images)
        tables.append(table)
        near |= meant
    table = pd.concat(tables, ignore_index=True)
    parts = splits_by_name(sorted({path.split("/")[0] for path in table["path"]}))
    table["split"] = [parts.get(path.split("/")[0], "") for path in table["path"]]
    return account(table, near, found, " and ".join(files), set(files))


def _table(
    root: Path, file: str, layout: ImageFolder, groups: str | None, images: Files
) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Return one metadata table with our columns, and what names without a file may mean."""
    rows = list(_rows(root / file))

    def column(name: str, key: str) -> list[str]:
        known = {column for row in rows for column in row}
        if name not in known:
            cure = cure_where_commas(name, sorted(known))
            raise LayoutError(f"{key}: {root / file} has no column {name!r}{cure}")
        return ["" if row.get(name) is None else str(row[name]).strip() for row in rows]

    folder = PurePosixPath(file).parent
    wanted = [_inside(root / file, folder, name) for name in column(FILE_NAME, "dataset.layout")]
    paths, near = match([[path] for path in wanted], images, file)
    return pd.DataFrame({
        "path": paths,
        "class": column(layout.label, "dataset.layout.label"),
        "stratify": column(layout.stratify, "dataset.layout.stratify") if layout.stratify else "",
        "group": column(groups, "dataset.split.groups") if groups else "",
    }), near  # fmt: skip


def _rows(file: Path) -> Iterator[Mapping[Any, Any]]:
    """Yield the rows of a metadata table.

    Raises:
        LayoutError: it is no such table.
    """
    try:
        if file.suffix == ".csv":
            table = pd.read_csv(file, dtype="str", keep_default_na=False, index_col=False)
            yield from table.to_dict("records")
            return
        # Not `splitlines`, which also ends lines at characters that JSON texts may hold, such as U+2028.
        for number, line in enumerate(file.read_text(encoding="utf-8-sig").split("\n"), 1):
            row = json.loads(line) if line.strip() else None
            if isinstance(row, dict):
                yield row
            elif line.strip():
                raise LayoutError(f"{file}, line {number}: {line[:40]!r} is no JSON object")
    except UnicodeDecodeError as error:
        raise LayoutError(f"{file} is not UTF-8 text: save it as UTF-8") from error
    except ValueError as error:  # of pandas and of JSON
        raise LayoutError(f"{file} cannot be read as a table: {str(error).strip()}") from error


def _inside(file: Path, folder: PurePosixPath, name: str) -> str:
    if not name or not stays_inside(name):
        raise LayoutError(f"{file} has the {FILE_NAME} {name!r}: it must be a path relative to the table's own folder")
    return (folder / name.replace("\\", "/")).as_posix()
