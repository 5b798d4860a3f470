"""Draws learning curves: a metric over the number of training images, measured and extrapolated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from transferlab.reporting.figures import style
from transferlab.reporting.wording import capital, count, is_percentage, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@style.styled
def learning_curves(points: pd.DataFrame, fits: pd.DataFrame, band: pd.DataFrame) -> Figure:
    """Draw each strategy's means with the range of the draws, and its curve with its band up to twice the images.

    Args:
        points: the table `learning_curve`.
        fits: the table `learning_curve_fits`.
        band: the table `learning_curve_band`; a strategy without rows has no curve.

    Raises:
        ValueError: there is nothing to draw.
    """
    if points.empty:
        raise ValueError("the table of the learning curve has no row: nothing to draw")
    metric, all_images = str(points["metric"].iloc[0]), float(points["images"].max())
    scale = 100 if is_percentage(metric) else 1
    figure = style.new_figure(height=4.6)
    ax = figure.subplots()
    look = style.looks(points["strategy"])
    for name, own in points.groupby("strategy", sort=False):
        _draw(ax, own, band[band["strategy"] == name], look[str(name)], scale, all_images)
    _axes(ax, points, metric, all_images, has_curves=len(band) > 0)
    draws = sorted(points["draws"].unique())
    each = count(draws[0], "draw") if len(draws) == 1 else f"{draws[0]} to {count(draws[-1], 'draw')}"
    note = (
        f"n = {each} of each size, {count(points['test_images'].iloc[0], 'test image')}. Bar: lowest to highest draw."
    )
    if len(band):
        level = fits["level"].dropna().iloc[0]
        note += (
            f" Curve: fitted power law; band: its {level:.0%} interval over seeds, training and test images; dashed: "
            "more images than there are."
        )
    style.heading(figure, f"{capital(title(metric))} by the number of training images", note)
    return figure


def _draw(
    ax: Axes, points: pd.DataFrame, band: pd.DataFrame, look: style.Look, scale: float, all_images: float
) -> None:
    mean = scale * points["mean"]
    reach = [mean - scale * points["lowest"], scale * points["highest"] - mean]
    name = title(str(points["strategy"].iloc[0]))
    ax.errorbar(points["images"], mean, yerr=reach, fmt=look.marker, color=look.colour, markersize=5, elinewidth=1,
                label=style.label(name))  # fmt: skip
    if band.empty:
        ax.plot(points["images"], mean, color=look.colour, linewidth=0.8)
        return
    ax.fill_between(
        band["images"], scale * band["low"], scale * band["high"], color=look.colour, alpha=0.15, linewidth=0
    )
    for part, dashes in (
        (band["images"] <= 1.001 * all_images, "-"),
        (band["images"] >= 0.999 * all_images, (0, (4, 2))),
    ):
        ax.plot(band["images"][part], scale * band["value"][part], color=look.colour, linestyle=dashes)


def _axes(ax: Axes, points: pd.DataFrame, metric: str, all_images: float, has_curves: bool) -> None:
    sizes = sorted(points["images"].unique())
    ticks = [*sizes, 2 * all_images] if has_curves else sizes
    ax.set_xscale("log")
    ax.set_xticks(ticks, [count(round(tick)) for tick in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("training images (logarithmic)")
    ax.set_ylabel(f"test {title(metric)}" + (" (%)" if is_percentage(metric) else ""))
    if has_curves:
        ax.axvline(all_images, color=style.GREY, linewidth=0.9, linestyle=(0, (3, 3)))
        ax.annotate("all there are", (all_images, 1.01), xycoords=ax.get_xaxis_transform(), ha="center", fontsize=8.5,
                    color=style.GREY)  # fmt: skip
    style.light_grid(ax)
    ax.legend(loc="lower right" if metric != "log_loss" else "upper right")
