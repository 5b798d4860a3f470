"""Images at an address that fsspec reads: a data set of Hugging Face's hub, a cloud's bucket, a local Parquet file.

Parquet files that hold the images themselves become files in class folders. Anything else is copied as it is.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from transferlab.core.data.download import Downloads, SourceError
from transferlab.core.data.sources import parquet
from transferlab.core.data.sources.base import Acquired
from transferlab.core.errors import MendableError
from transferlab.core.files.folders import whole_folder
from transferlab.core.files.hashing import sha256_of_json
from transferlab.core.files.paths import stays_inside
from transferlab.core.validation import check

logger = logging.getLogger(__name__)
_CURE = (
    "Without a network, fetch the files elsewhere, e.g. `hf download OWNER/NAME --repo-type dataset`, and give their "
    "folder as url"
)


@dataclass(frozen=True, kw_only=True)
class AddressSource:
    """A folder, or Parquet files with the images in them, at an address such as `hf://datasets/<owner>/<name>`.

    Attributes:
        name: the kind of source.
        url: `hf://datasets/<owner>/<name>` (with `@<revision>` or a folder behind it), what another package of fsspec's
            reads (`s3://`, `gs://`), or a local path; `*` stands for any name.
        image: of Parquet files, the column with the images: their bytes, or `bytes` and `path` as `datasets` writes.
        label: of Parquet files, the column with the classes: text, or numbers that the file itself has names for.
    """

    name: Literal["address"] = "address"
    url: str
    image: str = "image"
    label: str = "label"

    def __post_init__(self) -> None:
        """Check the fields."""
        check((bool(self.url.strip()), "url", self.url, "must be an address"))

    def acquire(self, downloads: Downloads) -> Acquired:
        """Return a folder below the downloads with the images. It is fetched again when there are others.

        Raises:
            SourceError: the address cannot be read, a package that reads it is missing, or a Parquet file has no images
                or labels.
        """
        prefix = f"{_plain(self.url)}-{sha256_of_json(self.url)[:8]}"
        try:
            with _explained(self.url):
                files = _files_at(self.url)
        except SourceError as error:
            earlier = sorted(downloads.folder.glob(f"{prefix}-*"), key=lambda folder: folder.stat().st_mtime_ns)
            if not earlier:
                raise
            logger.warning("%s; going on with what was fetched before: %s", error, earlier[-1])
            return Acquired(earlier[-1])
        folder = downloads.folder / f"{prefix}-{sha256_of_json([self.image, self.label, files.marks])[:8]}"
        if not folder.is_dir():
            with whole_folder(folder.parent, lambda: folder.name) as new, _explained(self.url):
                self._fill(new, files)
        return Acquired(folder)

    def _fill(self, folder: Path, files: _Files) -> None:
        tables = [path for path in files.marks if path.endswith(parquet.SUFFIX)]
        parts = parquet.parts(tables)
        for path in tables:
            with files.open(path) as file:
                parquet.export(file, path, self.image, self.label, folder / parts[path])
        for path in () if tables else files.marks:
            files.copy(path, folder / path)


@dataclass(frozen=True)
class _Files:
    """The files at an address.

    Attributes:
        system: fsspec's.
        root: what paths are relative to, in the system's own words.
        marks: of each path, what changes when its content does.
    """

    system: Any
    root: str
    marks: dict[str, str]

    def open(self, path: str) -> Any:
        """Open a file for reading."""
        return self.system.open(f"{self.root}/{path}", "rb")

    def copy(self, path: str, target: Path) -> None:
        """Copy a file.

        Raises:
            SourceError: its name leads elsewhere.
        """
        if not stays_inside(path):
            raise SourceError(f"dataset.source.url: the name {path!r} leads out of the folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        self.system.get_file(f"{self.root}/{path}", str(target))


def _files_at(url: str) -> _Files:
    """List the files at an address: all in a folder, those that a pattern matches, or one.

    Raises:
        SourceError: there are none.
    """
    import fsspec  # with a network library for each protocol, which whoever reads config need not wait for

    system, root = fsspec.url_to_fs(url if "://" in url else str(Path(url).expanduser().absolute()))
    found = system.glob(root, detail=True) if "*" in root else system.find(root, detail=True)
    infos = {path: info for path, info in sorted(found.items()) if info["type"] == "file"}
    if not infos:
        raise SourceError(f"dataset.source.url: there are no files at {url}")
    if "*" in root or root in infos:
        root = os.path.commonpath([str(PurePosixPath(path).parent) for path in infos])
    marks = {
        str(PurePosixPath(path).relative_to(root)): json.dumps(info, sort_keys=True, default=str)
        for path, info in infos.items()
    }
    return _Files(system, root, marks)


def _plain(url: str) -> str:
    """Return a name for a folder that reminds of the address."""
    words = re.findall(r"\w+", url.removeprefix("hf://datasets/").partition("@")[0])
    return "-".join(words[-2:])[:60] or "data"


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn whatever a network library raises into one error that says what to do.

    Raises:
        SourceError: for such an error.
    """
    try:
        yield
    except MendableError:
        raise
    except Exception as error:  # each protocol's library has errors of its own, and not all are OSErrors
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise  # the system's, of our own disk
        told = str(error).strip().partition("\n")[0] or type(error).__name__
        raise SourceError(f"dataset.source.url: {url} cannot be read ({told}). {_CURE}") from error
