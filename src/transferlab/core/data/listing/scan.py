"""Every file below a folder, each either a candidate image or with the reason why it is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from transferlab.core.data.decoding.formats import FOREIGN_SUFFIXES

# What PIL decodes in a default build, and people keep photographs in.
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif", ".tga"}
    | FOREIGN_SUFFIXES  # photographs, which decoding reads with an extra or quarantines
)
LITTER = {"__MACOSX": "a folder that macOS adds to archives", "Thumbs.db": "a thumbnail cache of Windows"}


class Found(NamedTuple):
    """A file, or a folder or link that cannot be followed.

    Attributes:
        path: relative to the root (POSIX).
        reason: why it is no candidate image; empty for one.
        status: with a reason: `ignored` where it is no part of the data, `quarantined` where it may be one.
    """

    path: str
    reason: str = ""
    status: str = "ignored"


def walk(root: Path) -> Iterator[Found]:
    """Every file below `root`, sorted, links followed; a link back to a folder above it is a file to ignore.

    Raises:
        OSError: the root itself cannot be read.
    """
    return _walk(_entries(root), "", "", (os.path.realpath(root),))


def _walk(entries: list[os.DirEntry[str]], relative: str, ignored: str, above: tuple[str, ...]) -> Iterator[Found]:
    for entry in entries:
        path = f"{relative}{entry.name}"
        reason = ignored or _litter(entry.name)
        try:
            real = os.path.realpath(entry.path) if entry.is_dir() else ""
            inside = _entries(entry.path) if real and real not in above else []
        except OSError as error:  # no right to read it, a link to itself, or gone since it was listed
            yield Found(printable(path), reason or f"It cannot be read: {error.strerror}.", _status(reason))
            continue
        if real in above:
            yield Found(printable(path), "It is a link to a folder that it is in.")
        elif real:
            yield from _walk(inside, f"{path}/", reason, (*above, real))
        elif reason:
            yield Found(printable(path), reason)
        else:
            yield _file(entry, path)


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _status(ignored: str) -> str:
    return "ignored" if ignored else "quarantined"


def _litter(name: str) -> str:
    if name in LITTER:
        return f"It is, or is in, {LITTER[name]}."
    return "It is hidden: its name, or that of a folder it is in, starts with a dot." if name.startswith(".") else ""


def _file(entry: os.DirEntry[str], path: str) -> Found:
    suffix = Path(entry.name).suffix
    if suffix.lower() not in IMAGE_SUFFIXES:
        what = (
            f"Its suffix {suffix!r} is none of an image that can be decoded." if suffix else "Its name has no suffix."
        )
        return Found(printable(path), what)
    if entry.is_symlink() and not Path(entry.path).exists():
        return Found(printable(path), "It is a link that leads nowhere.", "quarantined")
    if not entry.is_file():
        return Found(printable(path), "It is no regular file.")
    if printable(path) != path:
        return Found(printable(path), "Its name, or that of a folder it is in, is not UTF-8: rename it.", "quarantined")
    return Found(path)


def printable(path: str) -> str:
    """The path with every byte that is not UTF-8 as an escape, so that tables can be written."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
