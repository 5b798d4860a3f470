"""Draws how one strategy errs: its confusion matrix and its reliability diagram.

Shapes: T trials, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from transferlab.reporting.figures import style
from transferlab.reporting.wording import count, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_SHARES_UP_TO = 25  # classes; in smaller cells no share can be read
_WRAPPED_UP_TO = 14  # classes; in lower rows there is room for one line of a name
_RANGES_UP_TO = 4  # classes; in smaller cells there is no room for the range over trials
_NAMES_BELOW_UP_TO = 40
_ENTRIES_PER_INCH = 3.4  # of the list of confusions, each two lines of text


@style.styled
def confusion_matrix(confusion: pd.DataFrame, strategy: str, classes: Sequence[str] | None = None) -> Figure:
    """Draw the confusion matrix of one strategy as shares of the true class, mean over trials.

    With more than 25 classes no share fits into a cell, and the most frequent confusions are listed instead.

    Args:
        confusion: the confusion table.
        strategy: the strategy to draw.
        classes: the order of the classes; else the order in which the table names them.

    Raises:
        ValueError: the table has no row of this strategy, or names a class that `classes` lacks.
    """
    own = confusion[confusion["strategy"] == strategy]
    if own.empty:
        raise ValueError(f"the confusion table has no row of strategy {strategy!r}: nothing to draw")
    names = list(classes) if classes is not None else list(dict.fromkeys([*own["truth"], *own["prediction"]]))
    counts_TKK = _counts(own, names)
    share_TKK = counts_TKK / np.maximum(counts_TKK.sum(axis=2, keepdims=True), 1)
    many = len(names) > _SHARES_UP_TO
    height = max(6.6, 1.8 + 0.12 * len(names)) if many else 2.2 + max(1.6, 0.34 * len(names))
    figure = style.new_figure(height=height)
    matrix_ax, *list_ax = figure.subplots(1, 2, width_ratios=[1.9, 1]) if many else [figure.subplots()]
    _draw_matrix(matrix_ax, share_TKK, names)
    if many:
        most = min(25, int((height - 2) * _ENTRIES_PER_INCH))
        _list_confusions(list_ax[0], share_TKK.mean(axis=0), names, most)
    trials, images = len(counts_TKK), counts_TKK.sum() // len(counts_TKK)
    ranges = " In brackets: lowest to highest trial." if trials > 1 and len(names) <= _RANGES_UP_TO else ""
    style.heading(
        figure,
        f"Which classes {title(strategy)} confuses",
        f"n = {count(images, 'test image')}, mean over {count(trials, 'trial')}. Each row is a true class: "
        f"which share of its images is called what.{ranges}",
    )
    return figure


def _counts(own: pd.DataFrame, names: list[str]) -> npt.NDArray[np.int64]:
    """Count images by trial, true class and predicted class."""
    unknown = (set(own["truth"]) | set(own["prediction"])) - set(names)
    if unknown:
        raise ValueError(f"the confusion table names classes that are not in the list of classes: {sorted(unknown)}")
    place = {name: k for k, name in enumerate(names)}
    trials = own["trial"].astype("category")
    counts_TKK = np.zeros((len(trials.cat.categories), len(names), len(names)), dtype=np.int64)
    where = trials.cat.codes.to_numpy(), own["truth"].map(place).to_numpy(), own["prediction"].map(place).to_numpy()
    np.add.at(counts_TKK, where, own["count"].to_numpy(dtype=np.int64))
    return counts_TKK


def _draw_matrix(ax: Axes, share_TKK: npt.NDArray[np.float64], names: list[str]) -> None:
    from matplotlib import colors

    many, numbered = len(names) > _SHARES_UP_TO, len(names) > _NAMES_BELOW_UP_TO
    # The square root keeps a confusion of 3% visible beside a diagonal of 90%.
    drawn = ax.imshow(share_TKK.mean(axis=0), cmap="Blues", norm=colors.PowerNorm(0.5, vmin=0, vmax=1), aspect="auto")
    ax.set(xlabel="predicted class", ylabel="true class")
    size = 8.5 if not many else max(5.0, 8.0 - len(names) / 30)
    shown = style.labels(names, 16 if many else 22)
    rows = [style.wrapped(name, 22) for name in names] if len(names) <= _WRAPPED_UP_TO else shown
    ax.set_yticks(
        range(len(names)), [f"{name}  {i}" for i, name in enumerate(shown)] if numbered else rows, fontsize=size
    )
    if numbered:
        places = range(0, len(names), 5)
        ax.set_xticks(places, [str(i) for i in places], fontsize=7)
        ax.set_xlabel("predicted class (its number at the left)")
    elif len(names) <= _RANGES_UP_TO:
        ax.set_xticks(range(len(names)), [style.wrapped(name, 60 // len(names)) for name in names], fontsize=size)
    else:
        turn = (
            {"rotation": 90}
            if len(names) > _WRAPPED_UP_TO
            else {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
        )
        ax.set_xticks(range(len(names)), shown, fontsize=size, **turn)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    if many:
        _share_bar(ax, drawn)
    else:
        _write_shares(ax, share_TKK)


def _share_bar(ax: Axes, drawn: AxesImage) -> None:
    from matplotlib import ticker

    bar = ax.figure.colorbar(
        drawn, ax=ax, location="top", shrink=0.6, aspect=35, pad=0.02, format=ticker.PercentFormatter(1.0)
    )
    bar.set_ticks([0, 0.05, 0.2, 0.5, 1])
    bar.set_label("share of the true class", fontsize=8)
    bar.outline.set_visible(False)


def _write_shares(ax: Axes, share_TKK: npt.NDArray[np.float64]) -> None:
    mean_KK, low_KK, high_KK = share_TKK.mean(axis=0), share_TKK.min(axis=0), share_TKK.max(axis=0)
    size = 10 if len(mean_KK) <= _RANGES_UP_TO else 8 if len(mean_KK) <= 12 else 5.5
    for i, j in np.argwhere(mean_KK > 0):
        colour = "white" if mean_KK[i, j] > 0.4 else style.INK
        text = _percent(mean_KK[i, j], len(mean_KK) <= 12)
        if len(mean_KK) <= _RANGES_UP_TO:
            text = f"{100 * mean_KK[i, j]:.1f}%"
            text += f"\n[{100 * low_KK[i, j]:.1f}, {100 * high_KK[i, j]:.1f}]" if len(share_TKK) > 1 else ""
        ax.text(j, i, text, ha="center", va="center", fontsize=size, color=colour)


def _percent(share: float, unit: bool) -> str:
    text = "<1" if share < 0.01 else f"{100 * share:.0f}"
    return f"{text}%" if unit else text


def _list_confusions(ax: Axes, share_KK: npt.NDArray[np.float64], names: list[str], most: int) -> None:
    ax.set_axis_off()
    ax.set_title("Most frequent\nconfusions", fontsize=9)
    wrong_KK = share_KK * (1 - np.eye(len(names)))
    order = np.argsort(-wrong_KK, axis=None, kind="stable")[:most]
    lines = []
    for i, j in zip(*np.unravel_index(order, wrong_KK.shape), strict=True):
        if wrong_KK[i, j]:
            lines.append(
                f"{style.label(names[i], 20)}\n  → {style.label(names[j], 14)}: {_percent(wrong_KK[i, j], True)}"
            )
    ax.text(0, 1, "\n".join(lines) or "none", transform=ax.transAxes, va="top", fontsize=7, linespacing=1.35)


@style.styled
def reliability(predictions: pd.DataFrame, strategy: str, bins: int = 10) -> Figure:
    """Draw a reliability diagram: how often the strategy is right when it says it is p% sure.

    Equal-width bins of the largest probability, as in C. Guo et al., "On Calibration of Modern Neural Networks" (2017).

    Args:
        predictions: the predictions table.
        strategy: the strategy to draw.
        bins: number of confidence bins between 0 and 1.

    Raises:
        ValueError: the table has no row of this strategy.
    """
    from matplotlib import ticker

    own = predictions[predictions["strategy"] == strategy]
    if own.empty:
        raise ValueError(f"the predictions table has no row of strategy {strategy!r}: nothing to draw")
    confidence = own.filter(regex="^p_").max(axis=1).to_numpy()
    right = (own["truth"] == own["prediction"]).to_numpy()
    binned = pd.DataFrame({"confidence": confidence, "right": right, "trial": own["trial"].to_numpy()})
    binned["bin"] = np.minimum((confidence * bins).astype(int), bins - 1)
    figure = style.new_figure(height=4.8)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    _calibration(above, binned)
    below.hist(confidence, bins=np.linspace(0, 1, bins + 1), color=style.HELD_OUT, edgecolor="white")
    below.set(xlabel="confidence: probability of the predicted class", ylabel="predictions")
    below.xaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    images, trials = own["path"].nunique(), own["trial"].nunique()
    style.heading(
        figure,
        f"Can {title(strategy)}'s confidence be believed?",
        f"n = {count(images, 'test image')}, {count(trials, 'trial')}, {bins} bins. Below the diagonal: too sure. "
        "Bars: lowest to highest trial. Small dot: few predictions, so little to go by.",
    )
    return figure


def _calibration(ax: Axes, binned: pd.DataFrame) -> None:
    from matplotlib import ticker

    pooled = binned.groupby("bin").agg(confidence=("confidence", "mean"), right=("right", "mean"), n=("right", "size"))
    per_trial = binned.groupby(["bin", "trial"])["right"].mean().groupby("bin").agg(["min", "max"])
    ax.plot([0, 1], [0, 1], color=style.GREY, linewidth=1, linestyle=(0, (4, 3)))
    ax.text(0.84, 0.74, "as sure as right", color=style.GREY, fontsize=8, ha="left")
    ax.vlines(pooled["confidence"], per_trial["min"], per_trial["max"], color=style.HELD_OUT, linewidth=1.2)
    size = 12 + 130 * pooled["n"] / pooled["n"].sum()
    ax.scatter(pooled["confidence"], pooled["right"], s=size, color=style.HELD_OUT, zorder=3, clip_on=False)
    ax.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share that is right")
    ax.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    style.light_grid(ax, "both")
