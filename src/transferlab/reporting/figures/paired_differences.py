"""Strategies against each other in pairs: differences and their intervals as a forest plot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferlab.reporting.figures import style
from transferlab.reporting.verdict import told_apart
from transferlab.reporting.wording import LOWER_IS_BETTER, MINUS, count, difference, signed_interval, title


@style.styled
def paired_differences(differences: pd.DataFrame, metric: str = "accuracy") -> Figure:
    """Draw every paired difference of two strategies as a forest plot with both 95% intervals.

    Args:
        differences: the differences table.
        metric: `accuracy` (drawn in percentage points) or another metric of the table.

    Raises:
        ValueError: the table has no row of this metric.
    """
    rows = differences[differences["metric"] == metric]
    if rows.empty:
        raise ValueError(f"the differences table has no row of metric {metric!r}: nothing to draw")
    rows = _one_direction(rows)
    scale = 100 if metric == "accuracy" else 1
    figure = style.new_figure(height=1.9 + 0.42 * len(rows))
    ax = figure.subplots()
    names = [_forest_row(ax, i, row, metric, scale) for i, row in enumerate(rows.to_dict("records"))]
    ax.axvline(0, color=style.INK, linewidth=0.9)
    ax.set_yticks(range(len(rows)), names)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    better = "left" if metric in LOWER_IS_BETTER else "right"
    unit = {"accuracy": " (percentage points)", "log_loss": " (nats)"}.get(metric, "")
    ax.set_xlabel(f"difference in {title(metric)}{unit}; {better} of 0: the first is better")
    style.light_grid(ax, "x")
    style.heading(figure, f"Paired differences in {title(metric)}", _note(rows))
    return figure


def _note(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    n = f"n = {count(first['trials'], 'trial')}, {count(first['test_images'], 'test image')}"
    if rows["low_images"].isna().all():
        return f"{n}: no interval, so nothing is told apart."
    return (
        f"{n}. Thin: 95% interval over trials and test images together; thick: over trials alone. Filled dot: the thin "
        "interval excludes 0; hollow: not told apart."
    )


def _one_direction(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without mirrored pairs: of (a, b) and (b, a) the first that the table has."""
    pairs = [frozenset(pair) for pair in zip(rows["strategy"], rows["versus"], strict=True)]
    kept: pd.DataFrame = rows[~pd.Series(pairs, index=rows.index).duplicated()]
    return kept


def _forest_row(ax: Axes, i: int, row: Mapping[Any, Any], metric: str, scale: int) -> str:
    apart = told_apart(row["low_images"], row["high_images"], row["trials"])
    ax.hlines(i, scale * row["low_images"], scale * row["high_images"], color=style.HELD_OUT, linewidth=1.4)
    ax.hlines(i, scale * row["low"], scale * row["high"], color=style.HELD_OUT, linewidth=5, alpha=0.45)
    ax.plot(scale * row["difference"], i, "o", markersize=7, color=style.HELD_OUT, zorder=3,
            markerfacecolor=style.HELD_OUT if apart else "white")  # fmt: skip
    text = f"{difference(row['difference'], metric)} {signed_interval(row['low_images'], row['high_images'], metric)}"
    ax.annotate(text, (1.01, i), xycoords=ax.get_yaxis_transform(), va="center", fontsize=8.5)
    return f"{title(row['strategy'])} {MINUS} {title(row['versus'])}"
