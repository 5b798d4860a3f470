"""The tables of `kedro transferlab versions` and `prune`."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text


def versions_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str | int]], caption: str) -> Table:
    """Build a table for 80 columns: the first never breaks, the others may; a whole number is a size in bytes."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), title=title, title_justify="left", caption_justify="left")
    for number, name in enumerate(columns):
        is_size = any(isinstance(row[number], int) for row in rows)
        widest = None if is_size or number in (0, len(columns) - 1) else 31  # else a long word would go beyond the 80
        table.add_column(
            name, no_wrap=number == 0, justify="right" if is_size else "left", max_width=widest, overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(decimal(cell) if isinstance(cell, int) else cell) for cell in row))
    table.caption = Text(caption)
    return table
