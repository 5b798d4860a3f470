"""Images in an archive, from the network or from a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import unquote, urlparse

from transferlab.core.data.archives.extract import SUFFIXES
from transferlab.core.data.download import Downloads
from transferlab.core.data.sources.base import Acquired
from transferlab.core.files.paths import is_plain_name, stays_inside
from transferlab.core.files.remote import EXTRAS
from transferlab.core.validation import check


@dataclass(frozen=True, kw_only=True)
class ArchiveSource:
    """A zip or tar archive with a known content.

    Attributes:
        name: the kind of source.
        url: where it is: http, https, s3, gs, abfs (each with the extra of that name), file, or a plain path.
        sha256: the archive's SHA-256 in hexadecimal; several where the same data are published in several packings.
        filename: its name among the downloads and in a mirror; by default the last part of the url.
        subfolder: the folder inside the archive that holds the data; by default the archive's root.
    """

    name: Literal["archive"] = "archive"
    url: str
    sha256: str | tuple[str, ...]
    filename: str | None = None
    subfolder: str | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        hashes_are_hex = bool(self.hashes) and all(re.fullmatch(r"[0-9a-f]{64}", value) for value in self.hashes)
        inside = stays_inside(self.subfolder or ".")
        named = is_plain_name(self.file) and self.file.lower().endswith(SUFFIXES)
        suffixes = ", ".join(SUFFIXES)
        scheme = urlparse(self.url).scheme
        check(
            (hashes_are_hex, "sha256", self.sha256, "must be 64 hexadecimal digits, or a list of such"),
            (inside, "subfolder", self.subfolder, "must be a relative path inside the archive"),
            (named, "filename", self.file, f"must be a plain file name ending in one of {suffixes}"),
            (scheme in {"http", "https", "file", *EXTRAS} or "://" not in self.url, "url", self.url,
             "must be http://, https://, s3://, gs://, abfs://, file:// or a path"),
        )  # fmt: skip

    @property
    def file(self) -> str:
        """Return the archive's file name."""
        return self.filename or PurePosixPath(unquote(urlparse(self.url).path)).name

    @property
    def hashes(self) -> tuple[str, ...]:
        """Return the accepted SHA-256 values, in lower case."""
        several = (self.sha256,) if isinstance(self.sha256, str) else tuple(self.sha256)
        return tuple(value.lower() for value in several)

    def acquire(self, downloads: Downloads) -> Acquired:
        """Return the verified archive file: from `downloads`, else a mirror, else the url.

        Raises:
            SourceError: it is nowhere to be had, or its content is not what `sha256` says.
        """
        return Acquired(downloads.fetch(self.url, self.hashes, self.file), self.subfolder)
