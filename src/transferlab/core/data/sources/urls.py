"""Images at addresses of their own, which a table lists."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import unquote, urlparse

from transferlab.core.data.download import Downloads, SourceError
from transferlab.core.data.listing.header import cure_where_commas
from transferlab.core.data.listing.scan import IMAGE_SUFFIXES
from transferlab.core.data.sources.base import Acquired
from transferlab.core.files.hashing import sha256_of
from transferlab.core.files.paths import is_plain_name
from transferlab.core.validation import check

AT_A_TIME = 8
TOLD = 5  # failures in a message


@dataclass(frozen=True, kw_only=True)
class UrlSource:
    """A CSV table with a row for each image: `url`, `class`, and where they are known `split` and `sha256`.

    Attributes:
        name: the kind of source.
        file: the table; a relative path is relative to where the command runs, `~` is the home folder.
    """

    name: Literal["urls"] = "urls"
    file: str

    def __post_init__(self) -> None:
        """Check the fields."""
        check((bool(self.file.strip()), "file", self.file, "must name a table"))

    def acquire(self, downloads: Downloads) -> Acquired:
        """Return a folder with `<class>/<row>-<name>` or `<split>/<class>/...`; what is there is not fetched again.

        Raises:
            SourceError: the table cannot be used, or some images cannot be had; the others are kept.
        """
        table = Path(self.file).expanduser()
        rows = _read(table)
        folder = downloads.folder / f"{table.stem}-{sha256_of(table)[:16]}"
        downloads = replace(downloads, report=None)
        with ThreadPoolExecutor(AT_A_TIME) as threads:
            failures = list(threads.map(lambda row: row.fetch(folder, downloads), rows))
        failed = [failure for failure in failures if failure]
        if failed:
            more = f"\n  and {len(failed) - TOLD} more" if len(failed) > TOLD else ""
            raise SourceError(
                f"dataset.source.file: {len(failed)} of the {len(rows)} images of {table} cannot be had:\n  "
                + "\n  ".join(failed[:TOLD])
                + f"{more}\nTake them out of the table or run again: those that came are kept in {folder}"
            )
        return Acquired(folder)


@dataclass(frozen=True)
class _Row:
    """One image of the table.

    Attributes:
        url: where it is.
        path: where it comes to, below the data's folder.
        hashes: its SHA-256, if the table has it.
    """

    url: str
    path: PurePosixPath
    hashes: Sequence[str]

    def fetch(self, folder: Path, downloads: Downloads) -> str | None:
        """Fetch the image; say why if it cannot be had."""
        target = folder / self.path
        if not target.is_file():
            try:
                found = replace(downloads, folder=target.parent).fetch(self.url, self.hashes, target.name)
            except (SourceError, OSError) as error:
                return " ".join(str(error).splitlines()[1:2]).strip() or str(error)
            if found != target:  # a local file, or one of a mirror's
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(found.absolute())
        return None


def _read(table: Path) -> list[_Row]:
    """Read the table.

    Raises:
        SourceError: it is gone, no such table, or has a row that cannot be used.
    """
    if not table.is_file():
        raise SourceError(f"dataset.source.file: {table} does not exist (looked for at {table.absolute()})")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or ())
            raw = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"dataset.source.file: {table} is no CSV table in UTF-8 ({error})") from error
    for column in ("url", "class"):
        if column not in columns:
            cure = cure_where_commas(column, columns)
            raise SourceError(f"dataset.source.file: {table} has no column {column!r}{cure}")
    if not raw:
        raise SourceError(f"dataset.source.file: {table} has no rows")
    return [_row(table, number, row) for number, row in enumerate(raw)]


def _row(table: Path, number: int, row: dict[str, str | None]) -> _Row:
    url, label, split, sha256 = ((row.get(column) or "").strip() for column in ("url", "class", "split", "sha256"))
    for column, value in (("class", label), ("split", split or "none")):
        if not is_plain_name(value):
            raise SourceError(f"{table}, row {number + 1}: {column} {value!r} cannot be the name of a folder")
    if not url:
        raise SourceError(f"{table}, row {number + 1}: it has no url")
    name = PurePosixPath(unquote(urlparse(url).path)).name
    name = f"{number:06d}-{name}" if is_plain_name(name) else f"{number:06d}"
    if PurePosixPath(name).suffix.lower() not in IMAGE_SUFFIXES:
        name += ".jpg"  # an image is known by its content, but listed by its name
    return _Row(url, PurePosixPath(split, label, name), [sha256.lower()] if sha256 else [])
