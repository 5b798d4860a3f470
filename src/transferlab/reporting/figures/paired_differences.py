"""Draws strategies against each other in pairs: differences and their intervals as a forest plot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from transferlab.reporting.figures import style
from transferlab.reporting.gaps import told_apart
from transferlab.reporting.recommendation import deciding
from transferlab.reporting.wording import (
    LOWER_IS_BETTER,
    MINUS,
    count,
    difference,
    is_percentage,
    signed_interval,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FAR = 3  # times the usual half-width of an interval: a difference beyond it needs no close look
_ROW_INCHES = 0.52


def that_decide(differences: pd.DataFrame, comparison: pd.DataFrame) -> Figure:
    """Draw the differences in the metric that decides; arguments and errors as those of `paired_differences`."""
    return paired_differences(differences, str(deciding(comparison)["metric"].iloc[0]))


def beside(differences: pd.DataFrame, comparison: pd.DataFrame) -> Figure:
    """Draw the differences in log loss or, where that decides, in accuracy."""
    decides = deciding(comparison)["metric"].iloc[0]
    return paired_differences(differences, "accuracy" if decides == "log_loss" else "log_loss")


@style.styled
def paired_differences(differences: pd.DataFrame, metric: str = "accuracy") -> Figure:
    """Draw every paired difference of two strategies as a forest plot with both 95% intervals.

    The axis shows the differences that need a close look. Those far beyond it become an arrow at its edge, and their
    numbers are written like all others.

    Args:
        differences: the differences table.
        metric: a metric of the table; accuracies are drawn in percentage points.

    Raises:
        ValueError: the table has no row of this metric.
    """
    rows = differences[differences["metric"] == metric]
    if rows.empty:
        raise ValueError(f"the differences table has no row of metric {metric!r}: nothing to draw")
    rows = _one_direction(rows)
    scale = 100 if is_percentage(metric) else 1
    figure = style.new_figure(height=1.7 + _ROW_INCHES * len(rows))
    ax = figure.subplots()
    reach = _reach(rows)
    for i, row in enumerate(rows.to_dict("records")):
        _forest_row(ax, i, row, metric, scale, scale * reach)
    ax.axvline(0, color=style.INK, linewidth=0.9, zorder=1)
    ax.set(xlim=(-scale * reach, scale * reach), ylim=(len(rows) - 0.6, -0.85), yticks=[])
    ax.spines["left"].set_visible(False)
    better = "left" if metric in LOWER_IS_BETTER else "right"
    unit = " (percentage points)" if is_percentage(metric) else " (nats)" if metric == "log_loss" else ""
    ax.set_xlabel(f"difference in {title(metric)}{unit}; {better} of 0: the first is better")
    style.light_grid(ax, "x")
    style.heading(figure, f"Paired differences in {title(metric)}", _note(rows, reach))
    return figure


def _reach(rows: pd.DataFrame) -> float:
    """Return the largest absolute difference that the axis shows: all of them, or those that need a close look."""
    ends = rows[["difference", "low_images", "high_images", "low", "high"]].abs().max(axis=1)
    half_width = float(((rows["high_images"] - rows["low_images"]) / 2).median())
    near = rows["difference"].abs() <= _FAR * half_width
    reach = float(ends.max())
    if near.any() and reach > 2 * float(ends[near].max()):
        reach = float(ends[near].max())
    return 1.15 * reach if reach > 0 else 1.0  # NaN where the metric is not defined on these images


def _note(rows: pd.DataFrame, reach: float) -> str:
    first = rows.iloc[0]
    n = f"n = {count(first['trials'], 'trial')}, {count(first['test_images'], 'test image')}"
    beyond = " Arrow: beyond the axis." if (rows["difference"].abs() > reach).any() else ""
    if rows["low_images"].isna().all():
        return f"{n}: no interval, so nothing is told apart.{beyond}"
    return (
        f"{n}. Thin: 95% interval over trials and test images together; thick: over trials alone. Filled dot: the thin "
        f"interval excludes 0; hollow: not told apart.{beyond}"
    )


def _one_direction(rows: pd.DataFrame) -> pd.DataFrame:
    """Drop mirrored pairs: of (a, b) and (b, a) keep the first that the table has."""
    pairs = [frozenset(pair) for pair in zip(rows["strategy"], rows["versus"], strict=True)]
    kept: pd.DataFrame = rows[~pd.Series(pairs, index=rows.index).duplicated()]
    return kept


def _forest_row(ax: Axes, i: int, row: Mapping[Any, Any], metric: str, scale: int, reach: float) -> None:
    """Draw one pair: its names and numbers on a line of text, its intervals below."""
    apart = told_apart(row["low_images"], row["high_images"], row["trials"])
    value = scale * row["difference"]
    ax.hlines(i, scale * row["low_images"], scale * row["high_images"], color=style.HELD_OUT, linewidth=1.4)
    ax.hlines(i, scale * row["low"], scale * row["high"], color=style.HELD_OUT, linewidth=5, alpha=0.45)
    beyond = abs(value) > reach
    marker, place = ("<" if value < 0 else ">", math.copysign(0.985 * reach, value)) if beyond else ("o", value)
    ax.plot(place, i, marker, markersize=7, color=style.HELD_OUT, zorder=3,
            markerfacecolor=style.HELD_OUT if apart else "white")  # fmt: skip
    names = f"{title(row['strategy'])} {MINUS} {title(row['versus'])}"
    numbers = (
        f"{difference(row['difference'], metric)} {signed_interval(row['low_images'], row['high_images'], metric)}"
    )
    for x, text, side in ((0, style.label(names, 50), "left"), (1, numbers, "right")):
        ax.annotate(text, (x, i - 0.42), xycoords=ax.get_yaxis_transform(), va="center", ha=side, fontsize=8.5,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
