"""Renders the page of the learning curves, in the manner of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from transferlab.reporting import learning_curve
from transferlab.reporting.page.grid import Cell, Grid, grid
from transferlab.reporting.page.page import environment, picture
from transferlab.reporting.wording import NOTHING, capital, count, difference, interval, number, signed_interval, title


def render(
    facts: Mapping[str, Any], points: pd.DataFrame, fits: pd.DataFrame, crossings: pd.DataFrame, figure: bytes
) -> str:
    """Write the page: self-contained HTML without scripts.

    Args:
        facts: experiment, title and run_id.
        points: the table `learning_curve`.
        fits: the table `learning_curve_fits`.
        crossings: the table `learning_curve_crossings`.
        figure: PNG bytes of the curves.
    """
    headline = learning_curve.headline(fits)
    said = learning_curve.sentences(fits, crossings)
    return (
        environment()
        .get_template("learning_curve.html.j2")
        .render(
            facts=facts,
            headline=headline,
            sentences=[one for one in said if one != headline],
            explained=learning_curve.explained(points, fits),
            picture=picture("learning_curve", figure),
            points=_points(points),
            fits=_fits(fits),
            metric=title(str(points["metric"].iloc[0])),
        )
    )


def _points(points: pd.DataFrame) -> Grid:
    """List sizes, and each strategy's mean with its interval over draws and test images."""
    names = list(dict.fromkeys(points["strategy"]))
    by_size = points.set_index(["images", "strategy"])

    def cell(images: float, name: str) -> Cell:
        if (images, name) not in by_size.index:
            return Cell(NOTHING)
        row = by_size.loc[(images, name)]
        metric = str(row["metric"])
        return Cell(number(row["mean"], metric), interval(row["low_images"], row["high_images"], metric))

    sizes = sorted(points["images"].unique())
    rows = ((count(round(images)), [cell(images, name) for name in names]) for images in sizes)
    return grid([capital(title(name)) for name in names], rows)


def _fits(fits: pd.DataFrame) -> Grid:
    """List what each curve says of all images, of twice as many, and of the difference."""

    def cells(row: pd.Series) -> list[Cell]:
        metric = str(row["metric"])
        if pd.isna(row["gain"]):
            return [Cell(NOTHING)] * 3 + [Cell(row["refused"], words=True)]
        return [
            *(
                Cell(number(row[name], metric), interval(row[f"{name}_low"], row[f"{name}_high"], metric))
                for name in ("now", "doubled")
            ),
            Cell(difference(row["gain"], metric), signed_interval(row["gain_low"], row["gain_high"], metric)),
            Cell(learning_curve.formula(row)),
        ]

    rows = ((capital(title(row["strategy"])), cells(row)) for _, row in fits.iterrows())
    images = fits["images"].max()
    heads = [f"With {count(images)}", f"With {count(2 * images)}", "Doubling brings", "Loss by n images"]
    return grid(heads, rows)
