"""Unpack an archive that need not be trusted: no path outside, no links, no devices, no bombs, whole or not at all."""

from __future__ import annotations

import errno
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from transferlab.core.data.archives.readers import BY_HAND, SUFFIXES, ExtractError, Member, chunks, members
from transferlab.core.files.folders import whole_folder
from transferlab.core.files.hashing import sha256_of
from transferlab.core.files.paths import stays_inside

__all__ = ["SUFFIXES", "ExtractError", "Limits", "extract"]

MOST_FOLDERS = 100  # above a member; Python walks into folders by recursion, which ends at about 1,000


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
    with closing(members(archive)) as each:
        for number, member in enumerate(each, 1):
            if number > limits.members:
                raise ExtractError(f"{archive.name} has more than {limits.members} members; {BY_HAND}")
            left -= _write(member, folder / _safe(member.name, archive), left, archive)


def _write(member: Member, target: Path, most: int, archive: Path) -> int:
    """Write one member; return the number of bytes written."""
    written = 0
    try:
        if member.open is None:
            target.mkdir(parents=True, exist_ok=True)
            return 0
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            for chunk in chunks(member, archive):
                written += len(chunk)
                if written > most:
                    raise ExtractError(f"{archive.name} unpacks to too many bytes at {member.name!r}; {BY_HAND}")
                file.write(chunk)
    except OSError as error:
        if error.errno not in _BY_ITS_NAME:  # a full disk is no fault of the archive's
            raise
        what = _BY_ITS_NAME[error.errno] or f"a member whose name this disk cannot take ({error.strerror})"
        raise ExtractError(f"{archive.name} has {what}, {member.name!r}; {BY_HAND}") from error
    return written


_BY_ITS_NAME = {
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR), "two members for one place"),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ), ""),
}


def _safe(name: str, archive: Path) -> PurePosixPath:
    """Return the member's path, if it stays inside and is not absurdly deep."""
    if not stays_inside(name):
        raise ExtractError(f"{archive.name} has a member that leads outside: {name!r}; do not use this archive")
    relative = PurePosixPath(name.replace("\\", "/"))
    if len(relative.parts) > MOST_FOLDERS:
        raise ExtractError(
            f"{archive.name} has a member {len(relative.parts)} folders deep: {name[:40]!r}...; {BY_HAND}"
        )
    return relative
