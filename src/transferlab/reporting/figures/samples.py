"""Draws photographs: a labelled batch, the same photographs augmented, and test photographs with predictions.

Shapes: H height, W width, C channels (1 or 3), V views of one photograph. All images are uint8.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from transferlab.reporting.figures import style
from transferlab.reporting.wording import count, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Image = npt.NDArray[np.uint8]
RIGHT, WRONG = "#1a7f5a", "#c0392b"
_LETTERS = 22  # of 8.5 points below a photograph, four in a row
_FILE_SIZE = 6.5  # points


@style.styled
def labelled_batch(images: Sequence[Image], classes: Sequence[str], paths: Sequence[str], columns: int = 4) -> Figure:
    """Draw photographs as they are stored, each with its class and file name; they may differ in size.

    Args:
        images: uint8 arrays of shape (H, W, C).
        classes: the class name of each.
        paths: the path of each; its last part is shown.
        columns: photographs in a row.

    Raises:
        ValueError: there are no images, or not one class name and one path per image.
    """
    _same_length(images=images, classes=classes, paths=paths)
    figure, axes = _grid(len(images), columns, text_inches=0.42)
    for ax, image_HWC, name, path in zip(axes, images, classes, paths, strict=False):
        _show(ax, image_HWC)
        ax.set_title(style.wrapped(name, _LETTERS), fontsize=8.5, fontweight="normal", loc="left", pad=3)
        ax.set_xlabel(_file(path), fontsize=_FILE_SIZE, color=style.GREY, loc="left", labelpad=2)
    style.heading(figure, f"{count(len(images), 'photograph')} of the data with their classes, not augmented")
    return figure


@style.styled
def augmented_views(
    images: Sequence[Image], views: Sequence[npt.NDArray[np.uint8]], classes: Sequence[str], paths: Sequence[str]
) -> Figure:
    """Draw each photograph beside augmented views of it, as training sees them.

    Args:
        images: uint8 arrays of shape (H, W, C), not augmented.
        views: for each image a uint8 array of shape (V, H, W, C); V is the same for all.
        classes: the class name of each image.
        paths: the path of each image; its last part is shown.

    Raises:
        ValueError: there are no images, or the four differ in length.
    """
    _same_length(images=images, views=views, classes=classes, paths=paths)
    columns = 1 + max(len(of_one) for of_one in views)
    cell = min(1.3, style.WIDTH_INCHES / (columns + 0.3))
    figure = style.new_figure(height=1.1 + len(images) * (cell + 0.22))
    axes = figure.subplots(len(images), columns, squeeze=False)
    for row, image_HWC, views_VHWC, name, path in zip(axes, images, views, classes, paths, strict=True):
        for ax, shown_HWC in zip(row, [image_HWC, *views_VHWC], strict=False):
            _show(ax, shown_HWC)
        _blank(row[1 + len(views_VHWC) :])
        row[0].set_ylabel(style.wrapped(name, 14), fontsize=8)
        row[0].set_xlabel(_file(path, 60), fontsize=_FILE_SIZE, color=style.GREY, loc="left", labelpad=2)
        row[0].xaxis.label.set_in_layout(False)  # it may run on below the views
    axes[0, 0].set_title("as it is", loc="center", fontweight="normal")
    axes[0, 1].set_title("augmented", loc="center", fontweight="normal")
    style.heading(
        figure,
        f"{count(len(images), 'photograph')} and {count(columns - 1, 'augmented view')} of each",
        "First column: the stored photograph. The others: what training sees instead, drawn anew for each view.",
    )
    return figure


def pick_examples(predictions: pd.DataFrame, strategy: str, most: int = 16) -> pd.DataFrame:
    """Choose test images to look at: the surest mistakes of the first trial, then right ones spread over confidence.

    Args:
        predictions: the predictions table, of any strategies.
        strategy: the one to look at.
        most: images to choose; at most half of them are mistakes while there are enough right ones.

    Returns:
        Rows of predictions with two more columns: `confidence`, the probability of the predicted class, and `trials`,
        the number of trials.
    """
    own = predictions[predictions["strategy"] == strategy]
    first = own[own["trial"] == own["trial"].min()].copy()
    first["confidence"] = first.filter(regex="^p_").max(axis=1)
    first["trials"] = own["trial"].nunique()
    first = first.sort_values(["confidence", "path"], ascending=False)
    is_right = first["truth"] == first["prediction"]
    wrong, right = first[~is_right], first[is_right]
    mistakes = wrong.head(max(most // 2, most - len(right)))
    places = np.linspace(0, max(len(right) - 1, 0), min(most - len(mistakes), len(right))).astype(int)
    examples: pd.DataFrame = pd.concat([mistakes, right.iloc[places]], ignore_index=True)
    return examples


@style.styled
def prediction_grid(images: Sequence[Image], examples: pd.DataFrame, columns: int = 4) -> Figure:
    """Draw test photographs with truth, prediction, confidence and file name; a mistake has a cross and a broken frame.

    Args:
        images: uint8 arrays of shape (H, W, C), one per row of `examples`.
        examples: columns strategy, trial (from 0), trials, path, truth, prediction, confidence (0..1), as
            `pick_examples` returns them.
        columns: photographs in a row.

    Raises:
        ValueError: there are no images, or not one per row.
    """
    _same_length(images=images, examples=examples)
    figure, axes = _grid(len(images), columns, text_inches=0.62)
    for ax, image_HWC, row in zip(axes, images, examples.to_dict("records"), strict=False):
        _show_prediction(ax, image_HWC, row)
    first = examples.iloc[0]
    right = int((examples["truth"] == examples["prediction"]).sum())
    style.heading(
        figure,
        f"What {title(first['strategy'])} says about {count(len(images), 'test photograph')} "
        f"(trial {first['trial'] + 1} of {first['trials']})",
        f"✗ and a broken frame: wrong ({len(images) - right} shown, the surest mistakes). ✓: right ({right} shown, "
        "from sure to unsure). Percent: confidence. Chosen to be looked at: the shares say nothing about accuracy.",
    )
    return figure


def least_sure(predictions: pd.DataFrame, most: int) -> pd.DataFrame:
    """Choose the predicted images whose first class is least probable, the least sure first.

    Args:
        predictions: columns path, prediction and probability, and maybe label; a refused image has no prediction.
        most: images to choose.
    """
    predicted = predictions[predictions["prediction"].notna()]
    return predicted.sort_values(["probability", "path"], kind="stable").head(most)


@style.styled
def contact_sheet(images: Sequence[Image], examples: pd.DataFrame, predicted: int, columns: int = 6) -> Figure:
    """Draw new photographs with prediction, probability and file name, in the order given.

    Args:
        images: uint8 arrays of shape (H, W, C), one per row of `examples`; there may be none.
        examples: rows of predictions, as `least_sure` returns them.
        predicted: how many images were predicted in all.
        columns: photographs in a row.
    """
    if not images:
        return style.empty_figure("No photograph could be predicted", "The table of predictions has the reasons.")
    _same_length(images=images, examples=examples)
    figure, axes = _grid(len(images), columns, text_inches=0.36)
    for ax, image_HWC, row in zip(axes, images, examples.to_dict("records"), strict=False):
        _show(ax, image_HWC)
        ax.set_xlabel(f"{style.label(row['prediction'], 12)} {row['probability']:.0%}", fontsize=7.5, loc="left")
        ax.set_title(_file(row["path"], 18), fontsize=5.5, color=style.GREY, fontweight="normal", pad=3)
    style.heading(
        figure,
        f"The {count(len(images), 'photograph')} of {count(predicted)} that the model is least sure of",
        "Least sure first. Percent: probability of the predicted class.",
    )
    return figure


def _show_prediction(ax: Axes, image_HWC: Image, row: dict[Any, Any]) -> None:
    _show(ax, image_HWC)
    is_right = row["truth"] == row["prediction"]
    said = f"{'✓' if is_right else '✗'} {style.label(row['prediction'], _LETTERS - 7)} {row['confidence']:.0%}"
    below = "" if is_right else f"\nis {style.label(row['truth'], _LETTERS - 3)}"
    ax.set_xlabel(said + below, fontsize=8, color=RIGHT if is_right else WRONG, loc="left")
    ax.set_title(_file(row["path"]), fontsize=_FILE_SIZE, color=style.GREY, fontweight="normal", pad=3)
    for spine in ax.spines.values():
        spine.set(visible=True, edgecolor=RIGHT if is_right else WRONG)
        spine.set(linewidth=1.0 if is_right else 2.6, linestyle="-" if is_right else (0, (3, 1.5)))


def _grid(cells: int, columns: int, text_inches: float) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure and its axes for photographs in rows, each with `text_inches` of text above and below."""
    columns = min(columns, cells)
    rows = -(-cells // columns)
    figure = style.new_figure(height=0.8 + rows * (min(style.WIDTH_INCHES / columns, 2.4) + text_inches))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    _blank(axes[cells:])
    return figure, list(axes[:cells])


def _file(path: str, letters: int = 24) -> str:
    """Return the last part of a path, as it can be drawn."""
    return style.label(path.rpartition("/")[2], letters)


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


def _same_length(**given: Any) -> None:
    lengths = {name: len(values) for name, values in given.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(f"a figure of photographs needs at least one, and as many of each: got {lengths}")
