"""The table as a page for people, and as JSON for programs."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import PIL
import torch

from benchmarks.faults.row import CRASHED, Row

COMMAND = "PYTHONPATH=src python -m benchmarks.faults"
LONGEST = 150
HEAD = """# What was tried

This page lists faults that were really made, and what the program said. It is written by
`{command}` (seed {seed}, about a minute). “Quarantined” and “ignored” files are rows of the
table `quarantine` with this reason; accepted files are in the `index`. Outcomes that differ only in numbers count as
one (N).

**{faults} faults, {tries} tries:**

{verdict}

A JPEG has no checksum, and the checksum in somebody's .pth file need not be correct. A flipped bit there is simply
another picture.
"""


def document(groups: Mapping[str, Sequence[Row]], seed: int) -> dict[str, Any]:
    """All rows by group, and how they were made."""
    versions = {"python": platform.python_version(), "torch": torch.__version__, "pillow": PIL.__version__}
    return {
        "command": COMMAND,
        "seed": seed,
        "machine": {"processor": platform.machine(), "system": platform.system(), **versions},
        "faults": {title: [asdict(row) for row in rows] for title, rows in groups.items()},
    }


def page(document: Mapping[str, Any]) -> str:
    """Write the Markdown page: a summary, then a table for each group."""
    groups = {title: [Row(**row) for row in rows] for title, rows in document["faults"].items()}
    every = [row for rows in groups.values() for row in rows]
    head = HEAD.format(
        command=document["command"],
        seed=document["seed"],
        faults=len(every),
        tries=f"{sum(row.tried for row in every):,}",
        verdict=verdict(every),
    )
    return "\n".join([head, *(_table(title, merged(rows)) for title, rows in groups.items())])


def verdict(rows: Sequence[Row]) -> str:
    """Summarise the rows: a line for each thing that must not happen, with the faults that made it happen."""
    bad = {
        "the program crashed": [row for row in rows if CRASHED in row.outcome],
        "something was written outside its folder": [row for row in rows if "OUTSIDE" in row.lost],
        "code in a file was run": [row for row in rows if "CODE RAN" in row.lost],
        "a good image was lost": [row for row in rows if "good image" in row.lost],
        "a change went unnoticed": [row for row in rows if "UNNOTICED" in row.lost],
    }
    return "\n".join(f"- {what}: {'; '.join(row.fault for row in found) or 'never'}" for what, found in bad.items())


def merged(rows: Sequence[Row]) -> list[Row]:
    """Neighbours of which the same was said are one row."""
    result: list[Row] = []
    for row in rows:
        last = result[-1] if result else None
        if last and (last.outcome, last.lost) == (row.outcome, row.lost):
            result[-1] = Row(f"{last.fault}; {row.fault}", last.tried + row.tried, row.outcome, row.lost)
        else:
            result.append(row)
    return result


def _table(title: str, rows: Sequence[Row]) -> str:
    lines = [f"## {title}\n", "| Fault | Tried | What the program said | Lost |", "|---|--:|---|---|"]
    lines += [
        f"| {_text(row.fault)} | {row.tried} | {_text(_short(row.outcome))} | {_text(row.lost)} |" for row in rows
    ]
    return "\n".join([*lines, ""])


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rpartition(' ')[0]} …"


def _text(text: str) -> str:
    """One line of Markdown that shows just this text; what is in backquotes stays as it is."""
    parts = " ".join(text.split()).split("`")
    parts[::2] = [re.sub(r"([\\|<*_$])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)
