"""Unpack an archive that need not be trusted: no path outside, no links, no devices, no bombs, whole or not at all."""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from transferlab.core.download import sha256_of
from transferlab.core.whole_folder import whole_folder

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
CHUNK_BYTES = 1 << 20


class ExtractError(Exception):
    """An archive cannot be unpacked safely: the message names the archive, the member and the cure."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may become; above it, it is taken for a decompression bomb.

    Attributes:
        members: most files and folders; ImageNet, the largest set one would unpack here, has 1.4 million.
        bytes: most bytes unpacked; ImageNet has 150 GB.
        ratio: most unpacked bytes per archive byte. Archives of photographs stay near 1, of tables below 30; deflate
            can reach 1032 (zlib's technical details), which only bombs do.
        ratio_from: unpacked bytes from which the ratio counts, as a small archive of flat drawings harms nobody.
    """

    members: int = 2_000_000
    bytes: int = 200 * 2**30
    ratio: float = 100.0
    ratio_from: int = 64 * 2**20


@dataclass(frozen=True)
class _Member:
    """One entry of an archive: a file when it can be opened, else a folder."""

    name: str
    open: Callable[[], IO[bytes]] | None


def extract(path: Path, target_parent: Path, subfolder: str | None = None, limits: Limits | None = None) -> Path:
    """Unpack the archive at `path` into `target_parent/<name>-<start of its sha256>`; a folder is returned as it is.

    An extraction that is there already is complete (folders get their name last) and is used again. Every file gets
    plain permissions (what `tarfile.data_filter` does to them) and the time of unpacking.

    Args:
        path: a verified archive, or a folder.
        target_parent: the folder to unpack in.
        subfolder: the folder inside that holds the data.
        limits: the largest that the archive may become.

    Raises:
        ExtractError: it is no archive, is damaged, is unsafe, is too large, or has no such subfolder.
    """
    path = Path(path)
    root = path if path.is_dir() else _extracted(path, Path(target_parent), limits or Limits())
    folder = root / (subfolder or ".")
    if not folder.is_dir():
        found = ", ".join(sorted(entry.name for entry in root.iterdir())[:10])
        raise ExtractError(
            f"dataset.source.subfolder: {path.name} has no folder {subfolder!r}, at its root are {found}"
        )
    return folder


def _extracted(archive: Path, parent: Path, limits: Limits) -> Path:
    stem = archive.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if stem.lower().endswith(suffix):
            stem = stem[: -len(suffix)]
            break
    name = f"{stem}-{sha256_of(archive)[:16]}"
    if not (parent / name).is_dir():
        with whole_folder(parent, lambda: name) as folder:
            _unpack(archive, folder, limits)
    return parent / name


def _unpack(archive: Path, folder: Path, limits: Limits) -> None:
    """Write every member below `folder`, counting what is really written: headers may lie."""
    left = min(limits.bytes, max(limits.ratio_from, int(limits.ratio * archive.stat().st_size)))
    try:
        with _members(archive) as members:
            for number, member in enumerate(members, 1):
                if number > limits.members:
                    raise ExtractError(f"{archive.name} has more than {limits.members} members; {_BY_HAND}")
                left -= _write(member, folder / _safe(member.name, archive), left, archive)
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError) as error:
        raise ExtractError(f"{archive.name} is damaged ({error}): delete it and fetch it again") from error


def _write(member: _Member, target: Path, most: int, archive: Path) -> int:
    """Write one member; the number of bytes written."""
    if member.open is None:
        target.mkdir(parents=True, exist_ok=True)
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    try:
        with member.open() as source, target.open("xb") as file:
            while chunk := source.read(CHUNK_BYTES):
                written += len(chunk)
                if written > most:
                    raise ExtractError(f"{archive.name} unpacks to too many bytes at {member.name!r}; {_BY_HAND}")
                file.write(chunk)
    except FileExistsError as error:
        raise ExtractError(f"{archive.name} has two members named {member.name!r}; {_BY_HAND}") from error
    return written


_BY_HAND = "if you trust it, unpack it yourself and use a source of the kind 'folder'"


def _safe(name: str, archive: Path) -> PurePosixPath:
    """The member's path, if it stays inside. Windows' separators count too: some of its tools write them."""
    relative = PurePosixPath(name.replace("\\", "/"))
    if relative.is_absolute() or PureWindowsPath(name).drive or ".." in relative.parts or "\0" in name:
        raise ExtractError(f"{archive.name} has a member that leads outside: {name!r}; do not use this archive")
    return relative


def _members(archive: Path) -> AbstractContextManager[Iterator[_Member]]:
    if zipfile.is_zipfile(archive):
        return _zip_members(archive)
    if tarfile.is_tarfile(archive):
        return _tar_members(archive)
    raise ExtractError(f"{archive.name} is no archive of a known kind ({', '.join(SUFFIXES)}), or it is damaged")


@contextmanager
def _zip_members(archive: Path) -> Iterator[Iterator[_Member]]:
    def each(file: zipfile.ZipFile) -> Iterator[_Member]:
        for info in file.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # the Unix mode, 0 when packed elsewhere
            if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise ExtractError(f"{archive.name} has a link or device: {info.filename!r}; {_BY_HAND}")
            if info.flag_bits & 1:
                raise ExtractError(f"{archive.name} is encrypted ({info.filename!r}); {_BY_HAND}")
            yield _Member(info.filename, None if info.is_dir() else partial(file.open, info))

    with zipfile.ZipFile(archive) as file:
        yield each(file)


@contextmanager
def _tar_members(archive: Path) -> Iterator[Iterator[_Member]]:
    def each(file: tarfile.TarFile) -> Iterator[_Member]:
        for info in file:
            if not (info.isreg() or info.isdir()):
                raise ExtractError(f"{archive.name} has a link or device: {info.name!r}; {_BY_HAND}")
            yield _Member(info.name, None if info.isdir() else partial(_opened, file, info))

    with tarfile.open(archive) as file:
        yield each(file)


def _opened(file: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    opened = file.extractfile(info)
    assert opened is not None  # noqa: S101 - None only for what is no regular file
    return opened
