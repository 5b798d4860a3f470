"""Draws the learning rate and the loss of every optimizer step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from transferlab.reporting.figures import style
from transferlab.reporting.wording import count, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DECADES = 2  # an axis that spans more of them is logarithmic
_CUT = 0.01  # of the values lie below a logarithmic axis: a schedule that ends near 0 would stretch it without end


@style.styled
def learning_rates(steps: pd.DataFrame) -> Figure:
    """Draw the learning rate of every step, all strategies in one figure, a thin line per trial.

    Args:
        steps: the steps table.

    Raises:
        ValueError: it is empty.
    """
    _not_empty(steps)
    figure = style.new_figure(height=4.0)
    ax = figure.subplots()
    look = style.looks(steps["strategy"])
    # Schedules often coincide: later lines are thinner, so that an earlier one still shows beside them.
    names = list(dict.fromkeys(steps["strategy"]))
    for i, name in enumerate(names):
        own = steps[steps["strategy"] == name]
        width = 1.2 + 2.4 * (len(names) - 1 - i) / max(1, len(names) - 1)
        for j, (_, one) in enumerate(own.groupby("trial")):
            text = title(name) if j == 0 else None
            ax.plot(one["step"], one["learning_rate"], color=look[name].colour, linestyle=look[name].dashes,
                    linewidth=width, alpha=0.9, label=text)  # fmt: skip
    _value_axis(ax, steps["learning_rate"].to_numpy())
    ax.set(xlabel="optimizer step (over all stages)", ylabel="learning rate")
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2)
    most = int(steps.groupby("strategy")["trial"].nunique().max())
    style.heading(
        figure,
        "Learning rate of every step",
        f"One line per trial (up to {count(most, 'trial')}); lines of equal schedules overlap. Layers with a scale of "
        "their own use this rate times their scale. A logarithmic axis leaves out the lowest 1%.",
    )
    return figure


@style.styled
def step_losses(steps: pd.DataFrame) -> Figure:
    """Draw the training loss of every step, raw (thin) and smoothed (thick), in a panel per strategy.

    Args:
        steps: the steps table.

    Raises:
        ValueError: it is empty.
    """
    _not_empty(steps)
    names = list(dict.fromkeys(steps["strategy"]))
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    figure = style.new_figure(height=1.0 + (2.5 if columns == 2 else 3.2) * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    look = style.looks(names)
    for ax, name in zip(axes, names, strict=False):
        _losses(ax, steps[steps["strategy"] == name], look[name], name)
    for ax in axes[len(names) :]:
        ax.set_axis_off()
    _value_axis(axes[0], steps["loss"].to_numpy())
    style.heading(
        figure,
        "Training loss of every step",
        "Thin: each step's mini-batch, one line per trial. Thick: mean over trials of the exponential moving average "
        "with a half-life of 1/50 of the steps.",
    )
    return figure


def _losses(ax: Axes, own: pd.DataFrame, look: style.Look, name: str) -> None:
    half_life = max(1.0, own["step"].max() / 50)
    smooth = []
    for _, one in own.groupby("trial"):
        ax.plot(one["step"], one["loss"], color=look.colour, linewidth=0.5, alpha=0.3)
        smooth.append(one.set_index("step")["loss"].ewm(halflife=half_life).mean())
    mean = pd.concat(smooth, axis=1).mean(axis=1)
    ax.plot(mean.index, mean, color=look.colour, linewidth=1.9)
    ax.set_title(style.label(title(name), 30), loc="left")
    ax.set(xlabel="optimizer step", ylabel="cross-entropy loss")
    style.light_grid(ax)


def _value_axis(ax: Axes, values: np.ndarray) -> None:
    from matplotlib import ticker

    positive = values[np.isfinite(values) & (values > 0)]
    lowest = float(np.quantile(positive, _CUT)) if positive.size else 0.0
    if positive.size and np.log10(positive.max() / lowest) > _DECADES:
        ax.set_yscale("log")
        ax.set_ylim(0.8 * lowest, 1.6 * float(positive.max()))
    else:
        ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    style.light_grid(ax)


def _not_empty(steps: pd.DataFrame) -> None:
    if steps.empty:
        raise ValueError("the steps table is empty: no strategy trained a step, so there is nothing to draw")
