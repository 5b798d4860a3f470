"""Collects problems in typed configuration, so that a user sees all of them at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a config dataclass: the field (dotted below the dataclass), its value, and the cure."""

    field: str
    value: Any
    message: str


class FieldProblems(ValueError):
    """Raised by a config dataclass's `__post_init__` with every problem it found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{p.field}: {p.value!r} {p.message}" for p in problems))
        self.problems = problems


def check(*rules: tuple[bool, str, Any, str]) -> None:
    """Raise `FieldProblems` with every rule `(holds, field, value, message)` that does not hold.

    Used in `__post_init__`::

        check((self.epochs >= 1, "epochs", self.epochs, "must be at least 1"))
    """
    problems = [Problem(field, value, message) for holds, field, value, message in rules if not holds]
    if problems:
        raise FieldProblems(problems)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the nearest known words, or an empty string if none is near."""
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
