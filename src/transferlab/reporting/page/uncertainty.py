"""The table of where the uncertainty of each difference comes from, and what would make it smaller."""

from __future__ import annotations

import math

import pandas as pd

from transferlab.reporting.page.grid import Cell, Grid, grid
from transferlab.reporting.wording import NOTHING, about, amount, capital, difference, title


def uncertainty(differences: pd.DataFrame, comparison: pd.DataFrame) -> Grid | None:
    """List for each pair the parts of the standard error, by the metric that decides, and what it takes to know more.

    None where no pair has an interval.

    Args:
        differences: the differences table; one of an earlier version has no such parts.
        comparison: the comparison table, which says what decides and how trials were split.
    """
    deciding = comparison[comparison["decides"].astype(bool)].iloc[0]
    metric, splitting = str(deciding["metric"]), str(deciding["splitting"])
    if "seeds_se" not in differences or differences["target"].isna().all():
        return None
    rows = differences[(differences["metric"] == metric) & differences[["seeds_se", "sample_se"]].notna().any(axis=1)]
    if rows.empty:
        return None
    has_own_images = splitting in ("re-splits", "folds")
    units = "groups" if deciding["groups"] else "test images"
    sample = "Training and test images" if has_own_images else "Training images"
    target = amount(rows["target"].iloc[0], metric)
    heads = [
        "Seeds", sample, capital(units),
        f"To within {target}: {units}", f"or {_of_trials(splitting)}",
        f"To detect {target}: {units}", f"or {_of_trials(splitting)}",
    ]  # fmt: skip
    needed = ("images_needed", "trials_needed", "images_for_power", "trials_for_power")
    lines = (
        (
            f"{capital(title(row['strategy']))} against {title(row['versus'])}",
            [
                *(
                    _error(row, name, metric, splitting, has_own_images)
                    for name in ("seeds_se", "sample_se", "images_se")
                ),
                *(_number(row[name]) for name in needed),
            ],
        )
        for row in rows.to_dict("records")
    )
    return grid(heads, lines)


def _of_trials(splitting: str) -> str:
    return "trials" if splitting == "one split" else "splits"


def _error(row: dict[str, float], name: str, metric: str, splitting: str, has_own_images: bool) -> Cell:
    """Write a part of the standard error, or why it has no number of its own."""
    if math.isfinite(row[name]):
        return Cell(amount(row[name], metric))
    if name == "sample_se":
        return Cell("not varied", "one split", words=True)
    if name == "images_se" and not has_own_images:
        return Cell(NOTHING)
    where = "with training images" if splitting.endswith("training images") or name == "images_se" else "with images"
    return Cell("counted", where, words=True)


def _number(needed: float) -> Cell:
    if math.isnan(needed):
        return Cell(NOTHING)
    return Cell("no number is enough", words=True) if math.isinf(needed) else Cell(about(needed))


def rounds(table: pd.DataFrame, comparison: pd.DataFrame) -> Grid:
    """List what each look at trials in rounds found, and which pairs it told apart from then on."""
    metric = str(comparison.loc[comparison["decides"].astype(bool), "metric"].iloc[0])
    lines = (
        (
            f"{capital(title(row['strategy']))} against {title(row['versus'])}",
            [
                Cell(str(row["trials"])),
                Cell(difference(row["difference"], metric)),
                Cell(f"{row['p']:.2g}"),
                Cell(f"{row['level']:.2g}"),
                Cell("told apart" if row["decided"] else "goes on"),
            ],
        )
        for row in table.to_dict("records")
    )
    return grid(["After trials", "Difference", "p, by permuting trials", "Held against", "Decision"], lines)
