"""Photographs: a labelled batch as it comes, the same photographs augmented, and test photographs with predictions.

Shapes: H height, W width, C channels (1 or 3), V views of one photograph. All images are uint8.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferlab.reporting.figures import style
from transferlab.reporting.wording import count, title

Image = npt.NDArray[np.uint8]
RIGHT, WRONG = "#1a7f5a", "#c0392b"


@style.styled
def labelled_batch(images: Sequence[Image], classes: Sequence[str], columns: int = 6) -> Figure:
    """Draw photographs as they come, each with its class; they may differ in size.

    Args:
        images: uint8 arrays of shape (H, W, C).
        classes: the class name of each.
        columns: photographs in a row.

    Raises:
        ValueError: there are no images, or not one class name per image.
    """
    _same_length(images=images, classes=classes)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = style.new_figure(height=0.8 + rows * (style.WIDTH_INCHES / columns + 0.2))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for i, (image_HWC, name) in enumerate(zip(images, classes, strict=True)):
        _show(axes[i], image_HWC)
        axes[i].set_title(_fit(name, columns), fontsize=8.5, fontweight="normal", loc="center", pad=4)
    _blank(axes[len(images) :])
    style.heading(figure, f"{count(len(images), 'photograph')} of the data with their classes, not augmented")
    return figure


@style.styled
def augmented_views(images: Sequence[Image], views: Sequence[npt.NDArray[np.uint8]], classes: Sequence[str]) -> Figure:
    """Draw each photograph beside augmented views of it, as training sees them.

    Args:
        images: uint8 arrays of shape (H, W, C), not augmented.
        views: for each image a uint8 array of shape (V, H, W, C); V is the same for all.
        classes: the class name of each image.

    Raises:
        ValueError: there are no images, or the three differ in length.
    """
    _same_length(images=images, views=views, classes=classes)
    columns = 1 + max(len(of_one) for of_one in views)
    cell = min(1.3, style.WIDTH_INCHES / (columns + 0.3))
    figure = style.new_figure(height=1.0 + len(images) * cell)
    axes = figure.subplots(len(images), columns, squeeze=False, width_ratios=[1.12] + [1] * (columns - 1))
    for row, image_HWC, views_VHWC, name in zip(axes, images, views, classes, strict=True):
        for ax, shown_HWC in zip(row, [image_HWC, *views_VHWC], strict=False):
            _show(ax, shown_HWC)
        _blank(row[1 + len(views_VHWC) :])
        row[0].set_ylabel(style.label(name, 16), fontsize=8.5)
    axes[0, 0].set_title("as it is", loc="center", fontweight="normal")
    axes[0, 1].set_title("augmented", loc="center", fontweight="normal")
    style.heading(
        figure,
        f"{count(len(images), 'photograph')} and {count(columns - 1, 'augmented view')} of each",
        "First column: the stored photograph. The others: what training sees instead, drawn anew for each view.",
    )
    return figure


def pick_examples(predictions: pd.DataFrame, strategy: str, most: int = 18) -> pd.DataFrame:
    """Choose test images to look at: the surest mistakes of the first trial, then right ones spread over confidence.

    Args:
        predictions: the predictions table, of any strategies.
        strategy: the one to look at.
        most: images to choose; at most half of them are mistakes while there are enough right ones.

    Returns:
        Rows of predictions with a column `confidence`, the probability of the predicted class.
    """
    own = predictions[predictions["strategy"] == strategy]
    first = own[own["trial"] == own["trial"].min()].copy()
    first["confidence"] = first.filter(regex="^p_").max(axis=1)
    first = first.sort_values(["confidence", "path"], ascending=False)
    is_right = first["truth"] == first["prediction"]
    wrong, right = first[~is_right], first[is_right]
    mistakes = wrong.head(max(most // 2, most - len(right)))
    places = np.linspace(0, max(len(right) - 1, 0), min(most - len(mistakes), len(right))).astype(int)
    examples: pd.DataFrame = pd.concat([mistakes, right.iloc[places]], ignore_index=True)
    return examples


@style.styled
def prediction_grid(images: Sequence[Image], examples: pd.DataFrame, columns: int = 6) -> Figure:
    """Draw test photographs with truth, prediction and confidence; a mistake has a cross and a thick broken frame.

    Args:
        images: uint8 arrays of shape (H, W, C), one per row of `examples`.
        examples: columns strategy, trial, truth, prediction, confidence (0..1), as `pick_examples` returns them.
        columns: photographs in a row.

    Raises:
        ValueError: there are no images, or not one per row.
    """
    _same_length(images=images, examples=examples)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = style.new_figure(height=0.9 + rows * (style.WIDTH_INCHES / columns + 0.5))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, image_HWC, row in zip(axes, images, examples.to_dict("records"), strict=False):
        _show_prediction(ax, image_HWC, row, columns)
    _blank(axes[len(images) :])
    first = examples.iloc[0]
    right = int((examples["truth"] == examples["prediction"]).sum())
    style.heading(
        figure,
        f"What {title(first['strategy'])} says about {count(len(images), 'test photograph')} (trial {first['trial']})",
        f"✗ and a broken frame: wrong ({len(images) - right} shown, the surest mistakes). ✓: right ({right} shown, "
        "from sure to unsure). Percent: confidence. Chosen to be looked at: the shares say nothing about accuracy.",
    )
    return figure


def _show_prediction(ax: Axes, image_HWC: Image, row: dict[Any, Any], columns: int) -> None:
    _show(ax, image_HWC)
    is_right = row["truth"] == row["prediction"]
    said = f"{'✓' if is_right else '✗'} {_fit(row['prediction'], columns, 72)} {row['confidence']:.0%}"
    below = "" if is_right else f"\nis {_fit(row['truth'], columns, 108)}"
    ax.set_xlabel(said + below, fontsize=8, color=RIGHT if is_right else WRONG, loc="left")
    for spine in ax.spines.values():
        spine.set(visible=True, edgecolor=RIGHT if is_right else WRONG)
        spine.set(linewidth=1.0 if is_right else 2.6, linestyle="-" if is_right else (0, (3, 1.5)))


def _show(ax: Axes, image_HWC: Image) -> None:
    grey = image_HWC.ndim == 2 or image_HWC.shape[-1] == 1
    ax.imshow(image_HWC.reshape(image_HWC.shape[:2]) if grey else image_HWC, cmap="gray", vmin=0, vmax=255)
    # A square around every photograph: rows stay straight whatever its shape.
    (height, width), side = image_HWC.shape[:2], max(image_HWC.shape[:2])
    left, top = (width - side) / 2 - 0.5, (height - side) / 2 - 0.5
    ax.set(xticks=[], yticks=[], xlim=(left, left + side), ylim=(top + side, top))
    ax.spines[:].set_visible(False)


def _blank(axes: Iterable[Axes]) -> None:
    for ax in axes:
        ax.set_axis_off()


def _fit(name: str, columns: int, letters: int = 120) -> str:
    return style.label(name, max(8, letters // columns))


def _same_length(**given: Any) -> None:
    lengths = {name: len(values) for name, values in given.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(f"a figure of photographs needs at least one, and as many of each: got {lengths}")
