"""Paths and names that settings, tables and archives give, which must not lead elsewhere."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath


def stays_inside(path: str) -> bool:
    r"""Tell whether a path, of POSIX or Windows, is relative and leads to no place outside of where it starts.

    Windows' separators count on every system: some of its tools write them into archives.
    """
    relative = PurePosixPath(path.replace("\\", "/"))
    return not (relative.is_absolute() or PureWindowsPath(path).drive or ".." in relative.parts or "\0" in path)


def is_plain_name(name: str) -> bool:
    """Tell whether a name is that of a visible file, without a folder."""
    return (
        bool(name)
        and stays_inside(name)
        and name == PurePosixPath(name.replace("\\", "/")).name
        and not name.startswith(".")
    )
