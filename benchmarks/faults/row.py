"""A row of the table: a fault, how often it was tried, what the program said, what was lost."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

NOTHING = "nothing"
STOPPED = "nothing: it stops before training"
FILE_ALONE = "the bad file alone"
UNNOTICED = "UNNOTICED: it is not what it was"
CRASHED = "CRASHED"


@dataclass(frozen=True)
class Row:
    """What came of one fault.

    Attributes:
        fault: what was done.
        tried: how often.
        outcome: what the program said, with counts where it did not always say the same.
        lost: what a user lost by it.
    """

    fault: str
    tried: int
    outcome: str
    lost: str


def row(fault: str, outcomes: Iterable[tuple[str, str]]) -> Row:
    """Make a row from (what was said, what was lost) of each try."""
    tries = list(outcomes)
    return Row(fault, len(tries), counted(said for said, _ in tries), counted(lost for _, lost in tries))


def counted(texts: Iterable[str]) -> str:
    """List the different texts, the commonest first, each with its count if there are several; numbers are ignored."""
    alike: dict[str, list[str]] = {}
    for text in texts:
        alike.setdefault(re.sub(r"\d+(\.\d+)?", "N", text), []).append(text)
    ordered = sorted(alike.items(), key=lambda item: (-len(item[1]), item[0]))
    shown = [(raw[0] if len(set(raw)) == 1 else general, len(raw)) for general, raw in ordered]
    if len(shown) == 1:
        return shown[0][0]
    rest = f"; {sum(count for _, count in shown[3:])} others" if len(shown) > 3 else ""
    return "; ".join(f"{count} {text}" for text, count in shown[:3]) + rest


def said(error: BaseException, *folders: Path) -> str:
    """Quote an error's message without the folders that this benchmark made."""
    text = str(error)
    for folder in folders:
        text = text.replace(f"{folder}/", "").replace(str(folder), "the folder")
    return f"“{_anywhere(text)}”"


def is_told(error: BaseException) -> bool:
    """Whether it is one of the project's own errors, whose messages are for users."""
    return type(error).__module__.startswith("transferlab")


def crashed(error: BaseException) -> tuple[str, str]:
    """Word an error that is no answer to a user."""
    return f"{CRASHED}: {type(error).__name__}: {_anywhere(str(error))}", "the run"


def _anywhere(text: str) -> str:
    return re.sub(re.escape(tempfile.gettempdir()) + r"/[^/\s]+", "…", text)
