"""Draws where the uncertainty of each difference comes from, as shares of its variance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from transferlab.reporting.figures import style
from transferlab.reporting.wording import MINUS, amount, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PARTS = {"seeds_se": "seeds", "sample_se": "training images", "images_se": "test images"}
_COLOURS = dict(zip(_PARTS, (style.PALETTE[5], style.PALETTE[2], style.PALETTE[0]), strict=True))
_ROW_INCHES = 0.52


@style.styled
def sources_of_uncertainty(differences: pd.DataFrame, comparison: pd.DataFrame) -> Figure:
    """Draw a bar for each pair of strategies, divided by what makes their difference uncertain.

    Args:
        differences: the differences table.
        comparison: the comparison table, which says what decides and how trials were split.
    """
    deciding = comparison[comparison["decides"].astype(bool)].iloc[0]
    metric, has_own_images = str(deciding["metric"]), deciding["splitting"] in ("re-splits", "folds")
    rows = differences[differences["metric"] == metric].reset_index(drop=True)
    variance = rows[list(_PARTS)].astype(float) ** 2
    share = variance.div(variance.sum(axis=1).where(lambda total: total > 0), axis=0)
    figure = style.new_figure(height=1.9 + _ROW_INCHES * len(rows))
    ax = figure.subplots()
    left = pd.Series(0.0, index=rows.index)
    for part, name in _PARTS.items():
        if share[part].notna().any():
            both = "training and test images" if has_own_images and part == "sample_se" else name
            own = 100 * share[part].fillna(0)
            ax.barh(rows.index, own, left=left, height=0.42, color=_COLOURS[part], label=both)
            left += own
    for i, row in enumerate(rows.to_dict("records")):
        pair = f"{title(row['strategy'])} {MINUS} {title(row['versus'])}"
        error = variance.loc[i].sum() ** 0.5
        told = f"standard error {amount(error, metric)}" if share.loc[i].notna().any() else "no interval"
        for x, text, side in ((0, style.label(pair, 50), "left"), (1, told, "right")):
            ax.annotate(text, (x, i - 0.36), xycoords=ax.get_yaxis_transform(), va="center", ha=side, fontsize=8.5)
    ax.set(xlim=(0, 100), ylim=(len(rows) - 0.6, -0.75), yticks=[])
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("share of the variance (%)")
    if ax.containers:
        ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=3)
    style.heading(figure, f"Where the uncertainty of differences in {title(metric)} comes from", _note(share, deciding))
    return figure


def _note(share: pd.DataFrame, deciding: pd.Series) -> str:
    if share["sample_se"].isna().all():
        return "All trials share one split, so that what other training images would change is not in it."
    if share["seeds_se"].isna().all():
        told = "seeds are counted with the training images. Several trials for each split would tell them apart"
        return f"Each of {deciding['splits']} splits has one trial: {told}."
    return f"Splits: {deciding['splits']}, with several seeds each."
