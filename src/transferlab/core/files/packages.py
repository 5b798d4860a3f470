"""Finds installed Python packages, and never imports them: a setting must not run code."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def package_folders(name: str) -> tuple[Path, ...]:
    """Return the folders of an installed package; none where there is no such package.

    A dotted name has none: Python would import its parents.
    """
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    return tuple(map(Path, spec.submodule_search_locations or ())) if spec else ()
