"""Every file below a folder, each either a candidate image or with the reason why it is ignored."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# What PIL decodes in a default build, and people keep photographs in.
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif", ".tga"}
)
LITTER = {"__MACOSX": "a folder that macOS adds to archives", "Thumbs.db": "a thumbnail cache of Windows"}


class Found(NamedTuple):
    """A file: its path relative to the root (POSIX), and why it is ignored (empty for a candidate image)."""

    path: str
    ignored: str


def walk(root: Path) -> Iterator[Found]:
    """Every file below `root`, sorted, links followed; a link back to a folder above it is a file to ignore."""
    return _walk(root, "", "", (os.path.realpath(root),))


def _walk(folder: Path, relative: str, ignored: str, above: tuple[str, ...]) -> Iterator[Found]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = f"{relative}{entry.name}"
        reason = ignored or _litter(entry.name)
        if entry.is_dir():
            real = os.path.realpath(entry.path)
            if real in above:
                yield Found(_printable(path), "It is a link to a folder that it is in.")
            else:
                yield from _walk(Path(entry.path), f"{path}/", reason, (*above, real))
        elif entry.is_symlink() and not Path(entry.path).exists():
            yield Found(_printable(path), reason or "It is a link that leads nowhere.")
        else:
            yield Found(_printable(path), reason or _not_an_image(entry))


def _litter(name: str) -> str:
    if name in LITTER:
        return f"It is, or is in, {LITTER[name]}."
    return "It is hidden: its name, or that of a folder it is in, starts with a dot." if name.startswith(".") else ""


def _not_an_image(entry: os.DirEntry[str]) -> str:
    if not entry.is_file():
        return "It is no regular file."
    if _printable(entry.name) != entry.name:
        return "Its name is not UTF-8."
    suffix = Path(entry.name).suffix
    if suffix.lower() not in IMAGE_SUFFIXES:
        return (
            f"Its suffix {suffix!r} is none of an image that can be decoded." if suffix else "Its name has no suffix."
        )
    return ""


def _printable(path: str) -> str:
    """The path with every byte that is not UTF-8 as an escape, so that tables can be written."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
