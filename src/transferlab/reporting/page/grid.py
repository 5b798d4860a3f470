"""A table to print on a page: rows of cells, so that a template only places them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """A number and, in smaller type, lines about it: its interval or what it is of; `words` may break into more."""

    main: str
    note: str = ""
    words: bool = False


@dataclass(frozen=True)
class Grid:
    """A table to print: column names, and rows of a row's name and its cells."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def grid(columns: Iterable[str], rows: Iterable[tuple[str, Iterable[Cell]]]) -> Grid:
    """Make a table of column names, and rows of a name and cells."""
    return Grid(tuple(columns), tuple((name, tuple(cells)) for name, cells in rows))
