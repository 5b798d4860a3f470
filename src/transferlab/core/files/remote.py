"""Files at URLs such as `s3://bucket/name`, read and written whole with fsspec.

Credentials and endpoints are those that each service's own library takes from the environment.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from transferlab.core.errors import MendableError

# The extra that brings a scheme's package.
EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gs"),
    **dict.fromkeys(("abfs", "abfss", "az"), "abfs"),
}
_CHUNK_BYTES = 1 << 20
_LIKE_A_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:")  # of two letters or more: C: is a drive


class RemoteError(MendableError):
    """A URL that cannot be read or written."""


def is_url(text: str) -> bool:
    """Tell a URL from a path."""
    return "://" in text


@dataclass(frozen=True)
class Remote:
    """A file or folder at a URL."""

    url: str

    def __post_init__(self) -> None:
        scheme, separator, rest = self.url.rpartition("://")
        object.__setattr__(self, "url", f"{scheme}{separator}{rest.rstrip('/')}")

    def __truediv__(self, name: str) -> Remote:
        return Remote(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> Remote:
        """The URL without its last part."""
        return Remote(self.url.rpartition("/")[0])

    def exists(self) -> bool:
        """Tell whether there is a file, asking anew.

        Raises:
            RemoteError: the place cannot be asked.
        """
        with self._told() as (system, path):
            return bool(system.exists(path))

    def names(self) -> list[str]:
        """Return the names in a folder, sorted; none where there is no folder.

        Raises:
            RemoteError: the place cannot be asked.
        """
        with self._told() as (system, path):
            try:
                found = system.ls(path, detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
            return sorted({str(each).rstrip("/").rpartition("/")[2] for each in found})

    def read(self) -> bytes:
        """Return the file's content.

        Raises:
            RemoteError: it is not there, or cannot be read.
        """
        with self._told() as (system, path):
            return bytes(system.cat_file(path))

    def copy_to(self, file: BinaryIO) -> None:
        """Write the file's content to an open file.

        Raises:
            RemoteError: it is not there, or cannot be read.
        """
        with self._told() as (system, path), system.open(path, "rb") as source:
            shutil.copyfileobj(source, file, _CHUNK_BYTES)

    def upload(self, file: Path) -> None:
        """Put a local file there; one that is there is replaced.

        Raises:
            RemoteError: it cannot be written.
        """
        with self._told() as (system, path):
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            system.put_file(str(file), path)

    def create(self, content: bytes) -> None:
        """Write a file that must not be there.

        Raises:
            RemoteError: it is there, or cannot be written.
        """
        with self._told() as (system, path):
            try:
                system.pipe_file(path, content, mode="create")
            except FileExistsError:
                raise RemoteError(f"{self.url} has just been written by somebody else: nothing was replaced") from None

    def remove(self) -> None:
        """Remove the file.

        Raises:
            RemoteError: it cannot be removed.
        """
        with self._told() as (system, path):
            system.rm_file(path)

    @contextmanager
    def _told(self) -> Iterator[tuple[Any, str]]:
        """Give the file system and the path on it; whatever goes wrong becomes one error that names the URL."""
        if _LIKE_A_SCHEME.match(self.url) and not is_url(self.url):  # fsspec takes it for a folder of this name
            raise RemoteError(
                f"{self.url} is no URL: after its scheme come two slashes, as in s3://bucket/folder; for a folder on "
                f"this machine write ./{self.url}"
            )
        import fsspec  # some of its file systems are slow to import, and most runs need none

        scheme = self.url.partition("://")[0]
        try:
            system, path = fsspec.url_to_fs(self.url)
            system.invalidate_cache()
            yield system, path
        except MendableError:
            raise
        except ImportError as error:
            extra = EXTRAS.get(scheme)
            cure = f"install the extra `{extra}`, e.g. `pip install 'transferlab[{extra}]'`" if extra else "install it"
            raise RemoteError(f"{self.url}: {scheme}:// needs another package ({error}): {cure}") from error
        except FileNotFoundError as error:
            raise RemoteError(f"{self.url} does not exist ({error})") from error
        except Exception as error:  # each service's library has errors of its own
            told = f"{type(error).__name__}: {error}".splitlines()[0]
            raise RemoteError(
                f"{self.url} cannot be used ({told}): check the URL, and credentials and endpoint in the environment"
            ) from error
