"""The members of an archive that need not be trusted; whatever is wrong with it is one kind of error."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from transferlab.core.errors import MendableError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
CHUNK_BYTES = 1 << 20
HEADER_BYTES = 16 << 20  # that a tar's headers may have in all,
MEMBER_HEADER_BYTES = 8 << 10  # and for each member more; one with a long name takes 3,000
BY_HAND = "if you trust it, unpack it yourself and use a source of the kind 'folder'"


class ExtractError(MendableError):
    """An archive cannot be unpacked safely: the message names the archive, the member and the cure."""


@dataclass(frozen=True)
class Member:
    """One entry of an archive: a file when it can be opened, else a folder."""

    name: str
    open: Callable[[], IO[bytes]] | None


def members(archive: Path) -> Generator[Member]:
    """Yield every member of a zip or tar, as its headers say.

    Raises:
        ExtractError: it is no archive, is damaged or encrypted, or has links, devices or implausible headers.
    """
    with _reading(archive):
        is_tar = _is_tar(archive)
        if not is_tar and not zipfile.is_zipfile(archive):
            raise ExtractError(
                f"{archive.name} is no archive of a known kind ({', '.join(SUFFIXES)}), or it is damaged"
            )
        yield from _tar_members(archive) if is_tar else _zip_members(archive)


def chunks(member: Member, archive: Path) -> Iterator[bytes]:
    """Yield the content of a member that is a file, a megabyte at a time.

    Raises:
        ExtractError: it is damaged.
    """
    assert member.open is not None  # noqa: S101 - a file
    with _reading(archive), member.open() as source:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Turn what the readers of the standard library raise on damaged or hostile input into one error.

    They raise OSError, EOFError, ValueError, KeyError, struct.error, zlib.error, NotImplementedError and more.
    """
    try:
        yield
    except ExtractError:
        raise
    except Exception as error:
        what = str(error) or type(error).__name__
        raise ExtractError(f"{archive.name} is damaged ({what}): delete it and fetch it again") from error


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # the Unix mode, 0 when packed elsewhere
            if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise ExtractError(f"{archive.name} has a link or device: {info.filename!r}; {BY_HAND}")
            if info.flag_bits & 1:
                raise ExtractError(f"{archive.name} is encrypted ({info.filename!r}); {BY_HAND}")
            is_folder = info.is_dir() or info.filename.endswith("\\")  # as some packers of Windows write one
            yield Member(info.filename, None if is_folder else partial(file.open, info))


def _tar_members(archive: Path) -> Iterator[Member]:
    with _tar_stream(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as file:  # type: ignore[call-overload]
        for info in file:
            if not (info.isreg() or info.isdir()):
                raise ExtractError(f"{archive.name} has a link or device: {info.name!r}; {BY_HAND}")
            stream.left += info.size + MEMBER_HEADER_BYTES
            yield Member(info.name, None if info.isdir() else partial(_opened, file, info))


def _is_tar(archive: Path) -> bool:
    """Whether it begins as a tar does. A zip is told by its end, and a tar may have a zip at its end."""
    try:
        with _tar_stream(archive) as stream, tarfile.open(fileobj=stream, mode="r:"):  # type: ignore[call-overload]
            return True
    except (tarfile.TarError, lzma.LZMAError, OSError, EOFError):
        return False


def _opened(file: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    opened = file.extractfile(info)
    assert opened is not None  # noqa: S101 - None only for what is no regular file
    return opened


class _TarStream:
    """The bytes of a tar, of which tarfile keeps headers in memory, whatever their size: so they get a limit."""

    def __init__(self, file: IO[bytes], archive: Path) -> None:
        self.file, self.archive, self.left = file, archive, HEADER_BYTES
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        data = self.file.read(min(size, self.left + 1))
        self.left -= len(data)
        if self.left < 0:
            raise ExtractError(f"{self.archive.name} has headers of implausible size; {BY_HAND}")
        return data


@contextmanager
def _tar_stream(archive: Path) -> Iterator[_TarStream]:
    with archive.open("rb") as file:
        start = file.read(6)
    reader = next((reader for magic, reader in _READERS.items() if start.startswith(magic)), open)
    with reader(archive, "rb") as file:
        yield _TarStream(file, archive)


_READERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
