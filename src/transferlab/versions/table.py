"""The tables of `kedro transferlab versions` and `prune`."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

WIDTH = 80  # in a wider terminal, too: a pipe has no width of its own


def versions_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str | int]], caption: str) -> Table:
    """Build a table for 80 columns: the first never breaks, the others may; a whole number is a size in bytes."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), title=title, title_justify="left", caption_justify="left")
    for number, name in enumerate(columns):
        is_size = any(isinstance(row[number], int) for row in rows)
        table.add_column(name, no_wrap=number == 0, justify="right" if is_size else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(decimal(cell) if isinstance(cell, int) else cell) for cell in row))
    table.width = min(WIDTH, Console(width=10 * WIDTH).measure(table).maximum)
    table.caption = Text(caption)
    return table
