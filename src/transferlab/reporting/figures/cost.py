"""Draws what accuracy costs: each strategy's accuracy, or what else decides, over the time of a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from transferlab.reporting.evidence import has_own_test_images
from transferlab.reporting.figures import style
from transferlab.reporting.recommendation import deciding, seconds_alone
from transferlab.reporting.wording import LOWER_IS_BETTER, capital, count, duration, is_percentage, number, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TIMES = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10_800, 36_000, 108_000, 360_000]  # s
_TIME_STEPS = [
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 18_000, 36_000,
]  # s  # fmt: skip
_ERRORS = [0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 70, 100]  # percent: ticks of a logarithmic axis
_LOG_ABOVE = 3  # times between the largest and the smallest error, from which a linear axis hides the small ones
_LABEL_GAP = 0.052  # of the axes' height: one line of text


@style.styled
def accuracy_against_cost(
    comparison: pd.DataFrame,
    cost: pd.DataFrame,
    published: Sequence[Mapping[str, Any]] = (),
    reference_lines: Sequence[Mapping[str, Any]] = (),
) -> Figure:
    """Draw each strategy's mean accuracy over what a trial costs, with error bars, beside published figures.

    Where `report.metric` is another metric, that one takes the place of accuracy. The axis is logarithmic in what is
    missing to the highest value if that differs much, so that one strategy that is far behind leaves room for the
    differences between the others. Where lower is better, the axis points down.

    Args:
        comparison: the comparison table; the rows that decide are drawn.
        cost: the cost table; a strategy's cost is that of one trial, alone: the mean over its trials.
        published: mappings with strategy, metric, value (0..1); those of the metric become dashed lines.
        reference_lines: mappings with label and value, an accuracy (0..1); dotted lines where accuracy decides.

    Raises:
        ValueError: no row decides, or a strategy has no cost.
    """
    points = _points(comparison, cost)
    metric = str(points["metric"].iloc[0])
    scale = 100 if is_percentage(metric) else 1
    published = [given for given in published if given["metric"] == metric]
    reference_lines = reference_lines if metric == "accuracy" else ()
    figure = style.new_figure(height=4.6)
    ax = figure.subplots()
    look = style.looks(points["strategy"])
    labels = [_draw_point(ax, row, look[row["strategy"]], scale) for row in points.to_dict("records")]
    for given in published:
        colour = look[given["strategy"]].colour if given["strategy"] in look else style.GREY
        ax.axhline(scale * given["value"], color=colour, linewidth=1.1, linestyle=(0, (5, 3)), zorder=1)
        text = f"published {title(given['strategy'])} {number(given['value'], metric)}"
        labels.append((text, (None, scale * given["value"]), colour))
    for given in reference_lines:
        ax.axhline(scale * given["value"], color=style.GREY, linewidth=1.0, linestyle=(0, (1, 2)), zorder=1)
        text = f"{style.label(given['label'], 30)} {number(given['value'], metric)}"
        labels.append((text, (None, scale * given["value"]), style.GREY))
    _cost_axis(ax, float(points["fastest"].min()), float(points["slowest"].max()))
    ax.set_ylabel(f"test {title(metric)}{' (%)' if scale == 100 else ''}")
    lines = [scale * given["value"] for given in (*published, *reference_lines)]
    is_log = False
    if metric in LOWER_IS_BETTER:
        _downward_axis(ax, points, lines)
    else:
        is_log = _upward_axis(ax, points, lines, scale)
    style.light_grid(ax)
    _label_in_margin(ax, labels)
    beside = "parallel_trials" in cost and bool((cost["parallel_trials"] > 1).any())
    note = _cost_note(points, published, reference_lines, beside)
    note += f" The axis of {title(metric)} is logarithmic in what is missing to {scale}." if is_log else ""
    style.heading(figure, f"{capital(title(metric))} against cost: up and to the left is better", note)
    return figure


def _points(comparison: pd.DataFrame, cost: pd.DataFrame) -> pd.DataFrame:
    rows = deciding(comparison).reset_index()
    seconds = seconds_alone(cost).groupby(cost["strategy"]).agg(["mean", "min", "max"])
    seconds = seconds.set_axis(["seconds", "fastest", "slowest"], axis=1).reset_index()
    missing = set(rows["strategy"]) - set(seconds["strategy"])
    if missing:
        raise ValueError(f"the cost table has no row of {sorted(missing)}")
    points: pd.DataFrame = rows.merge(seconds, on="strategy")
    return points


def _draw_point(
    ax: Axes, row: Mapping[Any, Any], look: style.Look, scale: int
) -> tuple[str, tuple[float | None, float], str]:
    x, y, metric = row["seconds"], scale * row["mean"], row["metric"]
    ax.plot([x], [y], marker=look.marker, markersize=7, color=look.colour, linestyle="none", zorder=3, clip_on=False)
    low, high = row["low_images"], row["high_images"]
    if np.isfinite(low):
        high = high if metric in LOWER_IS_BETTER else min(1, high)
        ax.vlines(x, scale * max(0, low), scale * high, color=look.colour, linewidth=1.6, zorder=2)
    ax.hlines(y, row["fastest"], row["slowest"], color=look.colour, linewidth=1.6, zorder=2)
    return f"{title(row['strategy'])} {number(row['mean'], metric)}", (x, y), look.colour


def _downward_axis(ax: Axes, points: pd.DataFrame, lines: Sequence[float]) -> None:
    """Scale an axis on which lower is better, with the best on top."""
    ends = np.append(points[["mean", "low_images", "high_images"]].to_numpy(dtype=float), lines)
    ends = np.maximum(ends[np.isfinite(ends)], 0)
    if len(ends):
        room = 0.12 * max(float(ends.max() - ends.min()), 0.01)
        ax.set_ylim(float(ends.max()) + room, max(0.0, float(ends.min()) - room))


def _upward_axis(ax: Axes, points: pd.DataFrame, lines: Sequence[float], top: int) -> bool:
    """Scale an axis up to `top`, and return whether it is logarithmic in what is missing to that."""
    smallest = top / 2 / float(points["test_images"].max())  # half an image, where an accuracy of 100% is drawn
    ends = np.clip(top * points[["mean", "low_images", "high_images"]].to_numpy(dtype=float), 0, top)
    missing = top - np.append(ends[np.isfinite(ends)], lines)
    if not len(missing):  # the metric is not defined on these images
        return False
    low, high = max(smallest, float(missing.min())), max(smallest, float(missing.max()))
    means = np.append(top * points["mean"].to_numpy(dtype=float), lines)
    drawn = np.maximum(smallest, top - means[np.isfinite(means)])
    if drawn.max() / drawn.min() <= _LOG_ABOVE:
        room = 0.12 * max(high - low, top / 100)
        ax.set_ylim(max(0, top - high - room), min(1.005 * top, top - low + room))
        return False

    from matplotlib import ticker

    def up(value: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return -np.log(np.maximum(top - value, smallest))

    ax.set_yscale("function", functions=(up, lambda height: top - np.exp(-height)))
    ax.set_ylim(top - min(top, high * 1.12), top - max(smallest, low / 1.12))
    ticks = [top * error / 100 for error in _ERRORS if low / 1.12 <= top * error / 100 <= high * 1.12]
    ax.yaxis.set_major_locator(ticker.FixedLocator([top - error for error in ticks]))
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(ticker.NullLocator())
    return True


def _cost_axis(ax: Axes, least: float, most: float) -> None:
    from matplotlib import ticker

    if least > 0 and most / least > 10:
        ax.set_xscale("log")
        ax.set_xlim(least / 1.6, most * 1.6)
        ax.xaxis.set_major_locator(ticker.FixedLocator(_TIMES))
        ax.xaxis.set_minor_locator(ticker.NullLocator())
    else:
        ax.set_xlim(0, most * 1.15 or 1)
        step = next((step for step in _TIME_STEPS if most * 1.15 / step <= 5), _TIME_STEPS[-1])
        ax.xaxis.set_major_locator(ticker.MultipleLocator(step))
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda seconds, _: duration(seconds)))
    ax.set_xlabel("time of one trial, alone (mean over trials)")


def _label_in_margin(ax: Axes, labels: list[tuple[str, tuple[float | None, float], str]]) -> None:
    """Write every label to the right of the axes, spread so that none overlap, with a hairline to what it names."""
    to_axes, right = ax.transScale + ax.transLimits, ax.get_xlim()[1]
    placed = [(to_axes.transform((right, item[1][1]))[1], item) for item in labels if np.isfinite(item[1][1])]
    if not placed:  # the metric is not defined on these images
        return
    placed.sort(key=lambda each: each[0])
    ordered, wanted = [item for _, item in placed], np.clip([place for place, _ in placed], 0, 1)
    for (text, (x, y), colour), place in zip(ordered, spread(wanted, _LABEL_GAP), strict=True):
        from_x, coordinates = (1.0, ax.get_yaxis_transform()) if x is None else (x, ax.transData)
        ax.annotate(
            text, xy=(from_x, y), xycoords=coordinates, xytext=(1.04, place), textcoords="axes fraction", va="center",
            fontsize=8.5, annotation_clip=False, fontweight="normal" if x is None else "bold",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "alpha": 0.6, "shrinkA": 1, "shrinkB": 1,
                        "relpos": (0, 0.5)},
        )  # fmt: skip


def spread(wanted: npt.NDArray[np.float64], gap: float) -> npt.NDArray[np.float64]:
    """Move sorted places as little as needed until neighbours are `gap` apart, all between 0 and 1.

    Args:
        wanted: sorted places, float array of shape (N,).
        gap: smallest distance between neighbours; smaller when that many do not fit.

    Returns:
        Sorted places of shape (N,): the least-squares nearest ones, by bounded isotonic regression of wanted - i * gap.
    """
    from scipy.optimize import isotonic_regression  # takes a second to load, which a run need not wait for

    gap = min(gap, 1 / max(len(wanted) - 1, 1))
    steps = gap * np.arange(len(wanted))
    places: npt.NDArray[np.float64] = np.clip(isotonic_regression(wanted - steps).x, 0, max(0, 1 - steps[-1])) + steps
    return places


def _over(points: pd.DataFrame) -> str:
    if has_own_test_images(points.iloc[0]):
        return "splits"
    return "trials and test images" if points["trials"].max() > 1 else "test images"


def _cost_note(points: pd.DataFrame, published: Sequence[Any], reference_lines: Sequence[Any], beside: bool) -> str:
    trials = sorted(set(points["trials"]))
    n = count(trials[0], "trial") if len(trials) == 1 else f"{trials[0]} to {count(trials[-1], 'trial')}"
    note = (
        f"n = {n}, {count(points['test_images'].max(), 'test image')}. Vertical bars: 95% interval over {_over(points)}"
    )
    note += "; horizontal: fastest to slowest trial." if trials[-1] > 1 else ": one trial ranks nothing."
    note += " Alone: its training and the features of frozen layers."
    note += " Several trials trained at a time: the seconds are those beside the others." if beside else ""
    lines = ["dashed: published figures"] * bool(published) + ["dotted: reference figures"] * bool(reference_lines)
    return f"{note} {capital(', '.join(lines))}." if lines else note
