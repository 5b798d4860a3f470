"""Collects problems in typed configuration, so that a user sees all of them at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a config dataclass.

    Attributes:
        field: the field, dotted below the dataclass.
        value: what it holds.
        message: what is wrong, and the cure.
        candidates: what the value could have been, where that is a list of words; the nearest are suggested.
    """

    field: str
    value: Any
    message: str
    candidates: tuple[str, ...] = ()

    @property
    def advice(self) -> str:
        """The message, and the candidates that the value is near to."""
        return self.message + did_you_mean(str(self.value), self.candidates)


class FieldProblems(ValueError):
    """Raised by a config dataclass's `__post_init__` with every problem it found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{p.field}: {p.value!r} {p.advice}" for p in problems))
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
    by_folded = {name.strip().casefold(): name for name in known}
    near = [by_folded[name] for name in difflib.get_close_matches(word.strip().casefold(), by_folded, n=3, cutoff=0.5)]
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def pattern_problem(pattern: str) -> str:
    r"""Say why a regular expression cannot be used, or return an empty string.

    Python's engine cannot be stopped, and a repeated parenthesis, such as `(a+)+` or `(a|aa)*`, can take exponential
    time. So only single characters and classes may repeat, at most three times in all, as in `^([^/]+)/(\d+)_`, and
    few may be optional: `a?a?a?aaa` doubles the time with each.
    """
    try:
        re.compile(pattern)
    except (re.error, OverflowError) as error:
        return f"is no regular expression: {error}"
    plain = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", pattern)  # what is escaped or in a class repeats nothing
    if re.search(r"\)[+*{]", plain):
        return "repeats a parenthesis, which may never end: repeat only single characters or classes such as [^/]"
    if (repeats := len(re.findall(r"[+*]|\{\d*,", plain))) > 3:
        return f"has {repeats} repeats (+, * or {{m,n}}), and at most three are allowed: simplify it"
    if (choices := len(re.findall(r"(?<![(*+}?])\?|\([^()|]*\|", plain))) > 10:
        return f"has {choices} optional parts and choices (? or a|b), and at most ten are allowed: simplify it"
    return ""
