"""How one strategy errs: its confusion matrix and whether its confidence can be believed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from transferlab.reporting.figures import style
from transferlab.reporting.wording import count, title

_COUNTS_UP_TO = 25  # classes; in smaller cells no count can be read
_NAMES_ON_TOP_UP_TO = 40
_ENTRIES_PER_INCH = 3.4  # of the list of confusions, each two lines of text


@style.styled
def confusion_matrix(confusion: pd.DataFrame, strategy: str, classes: Sequence[str] | None = None) -> Figure:
    """Draw the confusion matrix of one strategy, summed over its trials.

    Colour is the share of a true class's images; the text is the count. With more than 25 classes no count fits into a
    cell, and the most frequent confusions are listed instead.

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
    counts_KK = _matrix(own, names)
    many = len(names) > _COUNTS_UP_TO
    height = max(7.2, 1.8 + 0.12 * len(names)) if many else min(7.2, max(4.2, 2.4 + 0.4 * len(names)))
    figure = style.new_figure(height=height)
    matrix_ax, *list_ax = figure.subplots(1, 2, width_ratios=[2.5, 1]) if many else [figure.subplots()]
    _draw_matrix(matrix_ax, counts_KK, names)
    if many:
        _list_confusions(list_ax[0], counts_KK, names, most=min(25, int((height - 2) * _ENTRIES_PER_INCH)))
    trials = own["trial"].nunique()
    style.heading(
        figure,
        f"Which classes {title(strategy)} confuses",
        f"n = {count(counts_KK.sum(), 'prediction')} of test images: {count(trials, 'trial')}, summed. Colour: share "
        f"of the true class (a row); {'the most frequent confusions are listed' if many else 'text: count'}.",
    )
    return figure


def _matrix(own: pd.DataFrame, names: list[str]) -> npt.NDArray[np.int64]:
    unknown = (set(own["truth"]) | set(own["prediction"])) - set(names)
    if unknown:
        raise ValueError(f"the confusion table names classes that are not in the list of classes: {sorted(unknown)}")
    table = own.pivot_table(index="truth", columns="prediction", values="count", aggfunc="sum", fill_value=0)
    counts_KK: npt.NDArray[np.int64] = table.reindex(index=names, columns=names, fill_value=0).to_numpy(dtype=np.int64)
    return counts_KK


def _draw_matrix(ax: Axes, counts_KK: npt.NDArray[np.int64], names: list[str]) -> None:
    share_KK = counts_KK / np.maximum(counts_KK.sum(axis=1, keepdims=True), 1)
    many = len(names) > _COUNTS_UP_TO
    # The square root keeps a confusion of 3% visible beside a diagonal of 90%.
    drawn = ax.imshow(share_KK, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1), aspect="auto" if many else "equal")
    bar = ax.figure.colorbar(drawn, ax=ax, shrink=0.5, aspect=25, pad=0.02, format=PercentFormatter(1.0))
    bar.set_ticks([0, 0.05, 0.2, 0.5, 1])
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)
    ax.set(xlabel="predicted class", ylabel="true class")
    size = 8.5 if not many else max(5.5, 8.5 - len(names) / 30)
    numbered = len(names) > _NAMES_ON_TOP_UP_TO
    shown = [style.label(name, 18 if many else 24) for name in names]
    rows = [f"{name}  {i}" for i, name in enumerate(shown)] if numbered else shown
    ax.set_yticks(range(len(names)), rows, fontsize=size)
    if numbered:
        places = range(0, len(names), 5)
        ax.set_xticks(places, [str(i) for i in places], fontsize=7)
        ax.set_xlabel("predicted class (its number at the left)")
    else:
        turn = {"rotation": 90} if many else {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
        ax.set_xticks(range(len(names)), shown, fontsize=size, **turn)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    if not many:
        _write_counts(ax, counts_KK, share_KK)


def _write_counts(ax: Axes, counts_KK: npt.NDArray[np.int64], share_KK: npt.NDArray[np.float64]) -> None:
    size = 9.5 if len(counts_KK) <= 12 else 6.5
    for i, j in np.argwhere(counts_KK > 0):
        colour = "white" if share_KK[i, j] > 0.4 else style.INK
        ax.text(j, i, f"{counts_KK[i, j]:,}", ha="center", va="center", fontsize=size, color=colour)


def _list_confusions(ax: Axes, counts_KK: npt.NDArray[np.int64], names: list[str], most: int) -> None:
    ax.set_axis_off()
    ax.set_title("Most frequent\nconfusions", fontsize=9)
    wrong_KK = counts_KK * (1 - np.eye(len(names), dtype=np.int64))
    order = np.argsort(wrong_KK, axis=None, kind="stable")[::-1][:most]
    lines = []
    for i, j in zip(*np.unravel_index(order, wrong_KK.shape), strict=True):
        if wrong_KK[i, j]:
            share = wrong_KK[i, j] / counts_KK[i].sum()
            truth, prediction = style.label(names[i], 22), style.label(names[j], 17)
            lines.append(f"{truth}\n  → {prediction}: {wrong_KK[i, j]:,} ({share:.0%})")
    ax.text(0, 1, "\n".join(lines) or "none", transform=ax.transAxes, va="top", fontsize=7.5, linespacing=1.35)


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
    own = predictions[predictions["strategy"] == strategy]
    if own.empty:
        raise ValueError(f"the predictions table has no row of strategy {strategy!r}: nothing to draw")
    confidence = own.filter(regex="^p_").max(axis=1).to_numpy()
    right = (own["truth"] == own["prediction"]).to_numpy()
    binned = pd.DataFrame({"confidence": confidence, "right": right, "trial": own["trial"].to_numpy()})
    binned["bin"] = np.minimum((confidence * bins).astype(int), bins - 1)
    figure = style.new_figure(height=5.0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    _calibration(above, binned)
    below.hist(confidence, bins=np.linspace(0, 1, bins + 1), color=style.HELD_OUT, edgecolor="white")
    below.set(xlabel="confidence: probability of the predicted class", ylabel="predictions")
    below.xaxis.set_major_formatter(PercentFormatter(1.0))
    images, trials = own["path"].nunique(), own["trial"].nunique()
    style.heading(
        figure,
        f"Can {title(strategy)}'s confidence be believed?",
        f"n = {count(images, 'test image')}, {count(trials, 'trial')}, {bins} bins. Below the diagonal: surer than "
        "right. Bars: lowest to highest trial. A small dot: few predictions, little to go by.",
    )
    return figure


def _calibration(ax: Axes, binned: pd.DataFrame) -> None:
    pooled = binned.groupby("bin").agg(confidence=("confidence", "mean"), right=("right", "mean"), n=("right", "size"))
    per_trial = binned.groupby(["bin", "trial"])["right"].mean().groupby("bin").agg(["min", "max"])
    ax.plot([0, 1], [0, 1], color=style.GREY, linewidth=1, linestyle=(0, (4, 3)))
    ax.text(0.86, 0.77, "as sure as right", color=style.GREY, fontsize=8)
    ax.vlines(pooled["confidence"], per_trial["min"], per_trial["max"], color=style.HELD_OUT, linewidth=1.2)
    size = 12 + 130 * pooled["n"] / pooled["n"].sum()
    ax.scatter(pooled["confidence"], pooled["right"], s=size, color=style.HELD_OUT, zorder=3, clip_on=False)
    ax.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share that is right")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    style.light_grid(ax, "both")
