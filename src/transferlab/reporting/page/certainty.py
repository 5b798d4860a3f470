"""Tables of the page on what trials get together, and on how much a single answer may be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from transferlab.reporting.page.grid import Cell, Grid, grid
from transferlab.reporting.wording import (
    NOTHING,
    capital,
    count,
    difference,
    interval,
    number,
    signed_interval,
    title,
)

METHODS = {"lac": "smallest sets (LAC)", "raps": "adaptive sets (RAPS)"}
SHOWN = "lac"  # of the two methods, the one whose figures are given per class
_TOGETHER = ("accuracy", "log_loss", "ece")


def together(table: pd.DataFrame) -> Grid:
    """List what the trials of each strategy get together, beside the mean of the single ones."""
    rows = []
    for (strategy, kind, members), own in table.groupby(["strategy", "kind", "members"], sort=False):
        by_metric = own.set_index("metric")
        cells = []
        for metric in _TOGETHER:
            row = by_metric.loc[metric]
            cells += [
                Cell(number(row["value"], metric), interval(row["low"], row["high"], metric)),
                Cell(
                    difference(row["difference"], metric),
                    signed_interval(row["difference_low"], row["difference_high"], metric),
                ),
            ]
        rows.append((f"{capital(title(str(strategy)))}, {_what(str(kind), int(members))}", cells))
    return grid([head for metric in _TOGETHER for head in (capital(title(metric)), "Against a single trial")], rows)


def _what(kind: str, members: int) -> str:
    return "best trial on validation, with which no soup was better" if members == 1 else f"{kind} of {members}"


def coverage(table: pd.DataFrame) -> Grid:
    """List how often the sets of each strategy hold the truth, how large they are, and what is flagged in vain."""
    rows = []
    for (strategy, members), own in _all_classes(table).groupby(["strategy", "members"], sort=False):
        by_method = own.groupby("method").mean(numeric_only=True)
        first = by_method.loc[SHOWN]
        cells = [
            Cell(count(first["calibrated_on"], "image"), f"expect {_spread(first)}"),
            *(cell for method in METHODS for cell in _of_method(by_method.loc[method])),
            Cell(f"{first['unfamiliar']:.1%}"),
        ]
        trials = own["trial"].nunique()
        single = "one trial" if trials == 1 else f"mean of {count(trials, 'single trial')}"
        predictor = single if members == 1 else f"ensemble of {members!s}"
        rows.append((f"{capital(title(str(strategy)))}, {predictor}", cells))
    heads = [head for name in METHODS.values() for head in (f"Hold the truth, {name}", "Mean size")]
    return grid(["Calibrated on", *heads, "Flagged as unfamiliar"], rows)


def coverage_per_class(table: pd.DataFrame, classes: Sequence[str]) -> Grid:
    """List the realised coverage of every class and strategy, mean over single trials, with the mean size of sets."""
    single = table[(table["members"] == 1) & (table["method"] == SHOWN)]
    means = single.groupby(["class", "strategy"])[["coverage", "set_size", "images"]].mean()
    names = list(dict.fromkeys(table["strategy"]))

    def cell(class_name: str, strategy: str) -> Cell:
        if (class_name, strategy) not in means.index:
            return Cell(NOTHING)
        row = means.loc[(class_name, strategy)]
        return Cell(f"{row['coverage']:.1%}", f"size {row['set_size']:.2f}")

    rows = ((name, [cell(name, strategy) for strategy in names]) for name in classes)
    return grid([capital(title(name)) for name in names], rows)


def _all_classes(table: pd.DataFrame) -> pd.DataFrame:
    of_all: pd.DataFrame = table[table["class"].isna() | (table["class"] == "")]
    return of_all


def _of_method(row: pd.Series) -> tuple[Cell, Cell]:
    return Cell(f"{row['coverage']:.1%}"), Cell(f"{row['set_size']:.2f}")


def _spread(row: pd.Series) -> str:
    """Write the range that realised coverage is in for two of three calibration samples of this size."""
    return f"{row['level']:.0%} ± {100 * row['coverage_sd']:.1f}"
