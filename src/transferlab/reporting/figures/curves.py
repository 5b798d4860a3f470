"""Draws the error per epoch: of one strategy on train and held-out images, and of all strategies together."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from transferlab.reporting.figures import style
from transferlab.reporting.wording import count, enumerate_words, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BAND = "Line: mean over the trials that reached the epoch; band: lowest to highest trial."
_NO_CURVE = "Nothing was trained, and no image was held out (dataset.split.validation)."
_NAMES = {"validation": "validation (held out)", "test": "test (held out; nothing is decided by it)"}
_LOG_ABOVE = 4  # times between the largest and the smallest mean error, from which a linear axis hides the small ones


@style.styled
def strategy_errors(history: pd.DataFrame, strategy: str, augmented: Collection[str] = ()) -> Figure:
    """Draw the train and held-out error of one strategy per epoch, with its stages.

    Args:
        history: the history table; error is 1 - accuracy, in percent.
        strategy: the strategy to draw; there is nothing to draw of one that trains nothing and holds no image out.
        augmented: the stages that train on augmented images.
    """
    own = _errors(history[history["strategy"] == strategy])
    if own.empty:
        return style.empty_figure(f"No error of {title(strategy)} per epoch", _NO_CURVE)
    held_out = curve_split(own)
    figure = style.new_figure(height=4.4)
    ax = figure.subplots()
    looks = {held_out: style.Look(style.HELD_OUT, "o", "-"), "train": style.Look(style.TRAIN, "o", (0, (5, 2)))}
    for split, look in looks.items():
        rows = own[own["split"] == split]
        _band(ax, rows, look, _train_name(rows, augmented) if split == "train" else _NAMES[split])
    _error_axis(ax, own[own["split"].isin(looks)])
    _mark_stages(ax, own)
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.05))
    trials = count(own["trial"].nunique(), "trial")
    style.heading(figure, f"Error of {title(strategy)} per epoch", f"n = {trials}. {_BAND}")
    return figure


@style.styled
def all_errors(history: pd.DataFrame) -> Figure:
    """Draw the held-out error of every strategy per epoch in one figure; without a held-out curve, the train error."""
    errors = _errors(history)
    if errors.empty:
        return style.empty_figure("No error per epoch", _NO_CURVE)
    by_strategy = {
        str(name): own[own["split"] == curve_split(own)] for name, own in errors.groupby("strategy", sort=False)
    }
    figure = style.new_figure(height=4.8)
    ax = figure.subplots()
    look = style.looks(by_strategy)
    for name, own in by_strategy.items():
        _band(ax, own, look[name], title(name))
    shown = pd.concat(list(by_strategy.values()))
    _error_axis(ax, shown)
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2)
    splits = sorted(shown["split"].unique())
    what = "Train" if splits == ["train"] else "Held-out"
    numbers = sorted({own["trial"].nunique() for own in by_strategy.values()})
    trials = count(numbers[-1], "trial") if len(numbers) == 1 else f"{numbers[0]} to {count(numbers[-1], 'trial')}"
    note = f"n = {trials}. {_BAND}"
    note += " There is no held-out curve: no validation split, and no test_curve." if "train" in splits else ""
    images = "" if splits == ["train"] else f" ({enumerate_words(splits)} images)"
    style.heading(figure, f"{what} error of every strategy per epoch{images}", note)
    return figure


def curve_split(history: pd.DataFrame) -> str:
    """Return the split whose curve is drawn: validation, else test, else train where nothing was held out."""
    recorded = set(history["split"])
    return next((split for split in ("validation", "test") if split in recorded), "train")


def _train_name(rows: pd.DataFrame, augmented: Collection[str]) -> str:
    """Name the train curve, whose images look different from the held-out ones where a stage augments them."""
    stages = list(rows["stage"].unique())
    changed = [title(stage) for stage in stages if stage in augmented]
    if not changed:
        return "train (while training)"
    plural = "s" if len(changed) > 1 else ""
    where = "" if len(changed) == len(stages) else f" in stage{plural} {enumerate_words(changed)}"
    return f"train (while training, on augmented images{where})"


def _errors(history: pd.DataFrame) -> pd.DataFrame:
    errors: pd.DataFrame = history.assign(error=100 * (1 - history["accuracy"]))
    return errors


def _band(ax: Axes, rows: pd.DataFrame, look: style.Look, name: str) -> None:
    if rows.empty:
        return
    per_epoch = rows.groupby("epoch")["error"].agg(["mean", "min", "max"])
    marker = look.marker if len(per_epoch) <= 25 else None
    line = {"color": look.colour, "linestyle": look.dashes, "marker": marker, "markersize": 4}
    ax.plot(per_epoch.index, per_epoch["mean"], label=name, **line)
    ax.fill_between(per_epoch.index, per_epoch["min"], per_epoch["max"], color=look.colour, alpha=0.15, linewidth=0)


def _error_axis(ax: Axes, rows: pd.DataFrame) -> None:
    from matplotlib import ticker

    ax.set_xlabel("epoch (0: before any training)" if rows["epoch"].min() == 0 else "epoch")
    ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    means = rows.groupby(["strategy", "split", "epoch"])["error"].mean()
    lowest = max(float(means.min()), 1.0)
    if float(means.max()) / lowest > _LOG_ABOVE:
        _log_above_one_percent(ax, float(rows["error"].min()), float(rows["error"].max()))
        ax.set_ylabel("error (% of images)\nlogarithmic" + (" above 1%" if ax.get_ylim()[0] < 1 else ""))
    else:
        ax.set_ylim(bottom=0)
        ax.set_ylabel("error (% of images)")
    style.light_grid(ax)


def _log_above_one_percent(ax: Axes, lowest: float, highest: float) -> None:
    """Make the axis linear up to 1%, since an error can be 0, and logarithmic above: 40% and 3% are both readable."""
    from matplotlib import ticker

    ax.set_yscale("symlog", linthresh=1)
    ticks = [t for t in (0, 0.5, 1, 2, 5, 10, 20, 50, 100) if 0.6 * lowest <= t <= 2 * highest or t == 0 >= lowest]
    ax.set_ylim(max(0.0, 0.8 * lowest if lowest > 1 else 0), min(108, 1.15 * highest))
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.yaxis.set_minor_locator(ticker.NullLocator())


def _mark_stages(ax: Axes, own: pd.DataFrame) -> None:
    """Draw a line where a stage ends (trials may differ), and write each stage's name above its epochs."""
    trained = own[own["epoch"] > 0]
    ends = trained.groupby(["stage", "trial"], sort=False)["epoch"].max()
    stages = list(dict.fromkeys(trained["stage"]))
    if len(stages) < 2:
        return
    start = 0.0
    for i, stage in enumerate(stages):
        end = float(np.max(ends[stage]))
        ax.annotate(f"stage: {title(stage)}", ((start + end) / 2, 1.01), xycoords=ax.get_xaxis_transform(), ha="center",
                    fontsize=8.5, color=style.GREY)  # fmt: skip
        if i < len(stages) - 1:
            for boundary in sorted(set(ends[stage])):
                ax.axvline(boundary, color=style.GREY, linewidth=0.9, linestyle=(0, (3, 3)))
        start = end
