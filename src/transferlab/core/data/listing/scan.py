"""Lists every file below a folder: each is a candidate image, or has the reason why it is not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from transferlab.core.data.decoding.formats import FOREIGN_SUFFIXES

# What PIL decodes in a default build, and what else people keep photographs in, so that the decoder says what reads it.
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".mpo", ".insp"}
    | {".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".png", ".apng", ".gif", ".bmp", ".dib"}
    | {".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".tga"}
    | FOREIGN_SUFFIXES
)
# What systems and programs leave in folders; names in any case. Sources: GitHub's gitignore templates (macOS, Windows,
# Linux, Python, Dropbox), Synology's and QNAP's knowledge bases on @eaDir and @Recycle, mklost+found(8).
LITTER = {
    "__macosx": "a folder that macOS adds to archives",
    "icon\r": "a folder's icon on macOS",
    "thumbs.db": "a thumbnail cache of Windows",
    "ehthumbs.db": "a thumbnail cache of Windows",
    "desktop.ini": "a folder's settings on Windows",
    "$recycle.bin": "the recycle bin of Windows",
    "system volume information": "a folder of Windows on every volume",
    "recycler": "the recycle bin of Windows XP",
    "msocache": "a folder of Microsoft Office",
    "$extend": "a folder of Windows on every volume",
    "$winreagent": "a folder of Windows on every volume",
    "network trash folder": "a trash folder of older macOS",
    "temporary items": "a folder of older macOS",
    "thefindbycontentfolder": "an index of older macOS",
    "thevolumesettingsfolder": "a folder of older macOS",
    "@eadir": "a folder of thumbnails that Synology makes",
    "@tmp": "a folder that Synology makes",
    "@appstore": "a folder that Synology makes",
    "#recycle": "the recycle bin of Synology",
    "#snapshot": "a folder of snapshots that Synology makes",
    "@recycle": "the recycle bin of QNAP",
    "@recently-snapshot": "a folder of snapshots that QNAP makes",
    ".@__thumb": "a folder of thumbnails that QNAP makes",
    "@__thumb": "a folder of thumbnails that QNAP makes",
    "~snapshot": "a folder of snapshots that NetApp makes",
    "lost+found": "a folder that Linux makes on every volume",
    "lost.dir": "a folder that Android makes on every card",
    "__pycache__": "a folder of compiled Python",
    "node_modules": "a folder of JavaScript packages",
    "_vti_cnf": "a folder of FrontPage, with a namesake of every file",
}
# Likewise, where a part of the name changes.
LITTER_PATTERNS = {
    "found.[0-9][0-9][0-9]": "a folder of Windows' disk check",
    "synophoto_thumb_*": "a thumbnail that Synology makes",
    "synofile_thumb_*": "a thumbnail that Synology makes",
    "*@synoeastream": "a file's attributes on Synology",
    "*@synoresource": "a file's attributes on Synology",
}


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


def walk(root: Path, ignore: Sequence[str] = ()) -> Iterator[Found]:
    """Yield every file below `root`, sorted.

    Links are followed, but for one back to a folder above it and, below a link, one to a folder that was listed before:
    so folders that link to each other end.

    Args:
        root: the folder.
        ignore: patterns (`fnmatch`, case-sensitive) of paths relative to the root, or of single names in them; one of a
            folder ignores what is in it.

    Raises:
        OSError: the root itself cannot be read.
    """
    real = os.path.realpath(root)
    yield from _Walk(tuple(ignore), {real}).below(_Folder(_entries(root), "", "", (real,)))


def why_litter(name: str, path: str, ignore: Sequence[str] = ()) -> str:
    """Say why a file or folder of this name and path is no part of the data; empty where it may be one."""
    if what := _litter(name.casefold()):
        return f"It is, or is in, {what}."
    if name.startswith("."):
        return "It is hidden: its name, or that of a folder it is in, starts with a dot."
    for pattern in ignore:
        if _matches(pattern, name, path):
            return f"dataset.layout.ignore says so: {pattern!r}."
    return ""


def _litter(name: str) -> str:
    known = LITTER.get(name)
    return known or next((what for pattern, what in LITTER_PATTERNS.items() if fnmatchcase(name, pattern)), "")


def _matches(pattern: str, name: str, path: str) -> bool:
    """Match a pattern; `./` before it, `**/` before and `/`, `/*` or `/**` behind it mean what they mean to git."""
    bare = pattern.removeprefix("./")
    while bare.endswith(("/", "/*", "/**")):
        bare = bare.rpartition("/")[0]
    return any(
        fnmatchcase(name, wanted) or fnmatchcase(path, wanted) for wanted in {bare or pattern, bare.removeprefix("**/")}
    )


def ignores(pattern: str, path: str) -> bool:
    """Tell whether a pattern of `ignore` matches a path, or a folder that it is in."""
    names = path.split("/")
    return any(_matches(pattern, name, "/".join(names[: depth + 1])) for depth, name in enumerate(names))


class _Folder(NamedTuple):
    """A folder to list: its entries, its path with a slash, why it is ignored, the real folders that it is in."""

    entries: list[os.DirEntry[str]]
    path: str
    ignored: str
    above: tuple[str, ...]
    is_below_link: bool = False


@dataclass
class _Walk:
    """Lists folders depth first, on a stack of its own: no depth of folders is too much."""

    ignore: tuple[str, ...]
    seen: set[str] = field(default_factory=set)

    def below(self, folder: _Folder) -> Iterator[Found]:
        """Yield every file below a folder, sorted within each folder."""
        stack = [(folder, iter(folder.entries))]
        while stack:
            folder, entries = stack[-1]
            entry = next(entries, None)
            if entry is None:
                stack.pop()
                continue
            found = self._look(entry, folder)
            if isinstance(found, _Folder):
                stack.append((found, iter(found.entries)))
            else:
                yield found

    def _look(self, entry: os.DirEntry[str], folder: _Folder) -> Found | _Folder:
        path = f"{folder.path}{entry.name}"
        reason = folder.ignored or why_litter(entry.name, path, self.ignore)
        try:
            if not entry.is_dir():
                return Found(printable(path), reason) if reason else _file(entry, path)
            is_link = entry.is_symlink()
            real = os.path.realpath(entry.path) if is_link else os.path.join(folder.above[-1], entry.name)  # noqa: PTH118
            if real in folder.above:
                return Found(printable(path), "It is a link to a folder that it is in.")
            if is_link and folder.is_below_link and real in self.seen:
                return Found(printable(path), "It is a link, itself below a link, to a folder that was listed before.")
            entries = _entries(entry.path)
        except OSError as error:  # no right to read it, a link to itself, or gone since it was listed
            status = "ignored" if reason else "quarantined"
            return Found(printable(path), reason or f"It cannot be read: {error.strerror}.", status)
        self.seen.add(real)
        return _Folder(entries, f"{path}/", reason, (*folder.above, real), folder.is_below_link or is_link)


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


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
    """Return the path with every byte that is not UTF-8 as an escape, so that tables can be written."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
