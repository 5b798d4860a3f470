"""What an experiment says about its splits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transferlab.core.errors import MendableError
from transferlab.core.validation import check, pattern_problem

if TYPE_CHECKING:
    import pandas as pd


class SplitError(MendableError):
    """The images cannot be split as configured: the message names the setting and the cure."""


@dataclass(frozen=True, kw_only=True)
class PathGroups:
    r"""Groups read from the images' paths.

    Attributes:
        path: a regular expression that is searched for in every path; the group is its first parenthesis, or all
            that it matches where it has none. `'([^/_]+)_[^/]*$'` takes what stands before the first `_` of the file's
            name.
    """

    path: str

    def __post_init__(self) -> None:
        """Check the fields."""
        problem = pattern_problem(self.path)
        check((not problem, "path", self.path, problem))

    def of(self, paths: pd.Series[str]) -> pd.Series[str]:
        """Return the group of every path; empty where the expression does not match."""
        pattern = re.compile(self.path)

        def group(path: str) -> str:
            match = pattern.search(path)
            return "" if match is None else match[1 if pattern.groups else 0] or ""

        return paths.map(group).astype("str")


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How images are split where the data do not say it themselves; given splits are kept.

    Attributes:
        test: share of all images that is for test; not used when the data bring their own test part, or with folds.
        validation: share of the other images that is for validation; 0 for none.
        seed: another seed gives another split.
        limit: use a stratified part of so many images; null for all.
        groups: what images belong together and never stand on two sides, such as all photographs of one patient: a
            column of the label table, or a regular expression on the path.
        resplits: draw so many random splits; trial t of every strategy takes split t modulo `resplits`.
        folds: hold out each of so many parts in turn (cross-validation); trial t of every strategy takes fold t.
        repeats: go on with new folds so many times.
    """

    test: float = 0.25
    validation: float = 0.0
    seed: int = 0
    limit: int | None = None
    groups: str | PathGroups | None = None
    resplits: int | None = None
    folds: int | None = None
    repeats: int = 1

    def __post_init__(self) -> None:
        """Check the fields."""
        check(
            (0 < self.test < 1, "test", self.test, "must be above 0 and below 1"),
            (0 <= self.validation < 1, "validation", self.validation, "must be at least 0 and below 1"),
            (self.limit is None or self.limit >= 4, "limit", self.limit, "must be null or at least 4"),
            (self.groups != "", "groups", self.groups, "must name a column, or be null"),
            (self.resplits is None or 1 <= self.resplits <= 1000, "resplits", self.resplits, "must be 1 to 1000"),
            (self.folds is None or 2 <= self.folds <= 1000, "folds", self.folds, "must be 2 to 1000"),
            (
                self.resplits is None or self.folds is None,
                "folds",
                self.folds,
                "cannot stand beside resplits: keep one",
            ),
            (1 <= self.repeats <= 1000, "repeats", self.repeats, "must be 1 to 1000"),
            (self.repeats == 1 or self.folds is not None, "repeats", self.repeats, "repeats folds: give folds as well"),
        )

    @property
    def count(self) -> int:
        """How many different splits there are."""
        return self.folds * self.repeats if self.folds else self.resplits or 1
