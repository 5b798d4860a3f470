"""Published versions: what they look like at a URL such as `s3://bucket/models`.

A published version is the folder `EXPERIMENT/VERSION` of a URL: the files of each dataset in a folder of the dataset's
name, and beside them a list of all files with their SHA-256. The list is written last, and without it there is no
version: an upload that was interrupted is none. What is there is never replaced.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from transferlab.core.errors import MendableError
from transferlab.core.files.atomic import PREFIX
from transferlab.core.files.hashing import sha256_of
from transferlab.core.files.paths import is_plain_name, stays_inside
from transferlab.core.files.remote import Remote
from transferlab.core.files.typed_json import read_as

logger = logging.getLogger(__name__)
LIST = "files.json"
FORMAT = 1


class PublishError(MendableError):
    """A version that cannot be published or fetched."""


@dataclass(frozen=True)
class File:
    """Size in bytes and SHA-256 of a file."""

    size: int
    sha256: str


Files = dict[str, File]  # by path below the dataset's folder


@dataclass(frozen=True)
class Listing:
    """The list of the files of a published version.

    Attributes:
        experiment: its name.
        version: the id of the run that made it.
        files: by dataset, and by path below the dataset's folder.
        refers_to: the versions that its metrics were measured on or gathered from.
        format: of the list.
    """

    experiment: str
    version: str
    files: dict[str, Files]
    refers_to: tuple[str, ...] = ()
    format: int = FORMAT

    def to_bytes(self) -> bytes:
        """Return the content of the list's file."""
        return json.dumps(asdict(self), indent=1).encode()


def files_in(folder: Path) -> Files:
    """Describe the files of a dataset's folder on this disk."""
    found = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(PREFIX))
    return {file.relative_to(folder).as_posix(): File(file.stat().st_size, sha256_of(file)) for file in found}


def listing_at(place: Remote) -> Listing | None:
    """Return the list of a published version; None where there is none, or a torn one.

    Raises:
        PublishError: it is of another format or version, or names files that cannot be in the version.
        RemoteError: the URL cannot be read.
    """
    file = place / LIST
    if not file.exists():
        return None
    try:
        values = json.loads(file.read())
    except (ValueError, RecursionError):
        logger.warning("%s is torn, as an interrupted upload leaves it: there is no version", file.url)
        return None
    try:
        listing = read_as(Listing, values)
    except ValueError as error:
        raise PublishError(f"{file.url} is no list of files ({error}): publish to another URL") from None
    if listing.format != FORMAT:
        raise PublishError(f"{place.url} has format {listing.format}, and this version of transferlab reads {FORMAT}")
    names = [listing.experiment, listing.version, *listing.files, *listing.refers_to]
    paths = [path for inside in listing.files.values() for path in inside]
    if not all(map(is_plain_name, names)) or not all(map(stays_inside, paths)):
        raise PublishError(f"{file.url} names files outside of its folder: nothing was fetched")
    if listing.version != place.name:
        raise PublishError(f"{file.url} is the list of the version {listing.version!r}: nothing was fetched")
    if empty := [name for name, inside in listing.files.items() if not inside or not all(map(_is_file_name, inside))]:
        raise PublishError(f"{file.url} names no files of {empty[0]}, or some that cannot be: nothing was fetched")
    return listing


def _is_file_name(path: str) -> bool:
    return PurePosixPath(path).as_posix() == path and bool(PurePosixPath(path).name)


def download(place: Remote, files: Files, name: str, folder: Path) -> None:
    """Download the files of the dataset `name` of a published version into a folder, and check each.

    Raises:
        PublishError: one is not what the list says.
        RemoteError: one cannot be read.
    """
    for path, wanted in files.items():
        source, target = place / name / path, folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            source.copy_to(file)
        if (found := sha256_of(target)) != wanted.sha256:
            raise PublishError(
                f"{source.url} is damaged: its sha256 is {found}, and {LIST} says {wanted.sha256}; nothing was "
                "fetched. Restore a copy of it, or publish the version to another URL"
            )


def published_in(folder: Remote) -> Iterator[Listing]:
    """Yield the lists of the versions in the folder of an experiment, newest first."""
    for name in reversed(folder.names()):
        if (listing := listing_at(folder / name)) is not None:
            yield listing


def named(versions: Iterable[str]) -> str:
    """Name versions in a message."""
    return ", ".join(versions) or "none"
