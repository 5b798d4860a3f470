"""The nodes of the report that draw: each hands tables and images to `reporting`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from transferlab.config.schema import Training
from transferlab.core.data.store import ImageStore, largest
from transferlab.core.strategies.strategy import Strategy
from transferlab.reporting.figures import cost, curves, evaluation, samples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Document = Mapping[str, Any]
Stores = Mapping[str, ImageStore]
BATCH, AUGMENTED, VIEWS = 12, 6, 5


def draw_batch(index: pd.DataFrame, image_store: Stores, _facts: Document) -> Figure:
    """Draw a labelled batch of training images, as they are stored."""
    rows = _spread(index, BATCH)
    store = largest(image_store.values())
    stored = store.rows_of(index["pixel_sha256"])[rows]
    return samples.labelled_batch(store.batch(stored), list(index["class"].iloc[rows]), list(index["path"].iloc[rows]))


def draw_augmented(
    index: pd.DataFrame,
    image_store: Stores,
    statistics: Document,
    strategies: Mapping[str, Strategy],
    training: Training,
    _facts: Document,
) -> Figure:
    """Draw the same images as the first strategy that augments sees them; as they are cropped when none does."""
    import torch  # and what loads it: the other figures need not wait for it

    from transferlab.core.loading.images import Images, Split
    from transferlab.core.loading.splits import store_for
    from transferlab.core.models import factory
    from transferlab.core.runtime.device import PLAIN_CPU

    stages = [(strategy, stage) for strategy in strategies.values() for stage in strategy.stages.values()]
    strategy = next((s for s, stage in stages if stage.augmentation), next(iter(strategies.values())))
    operations = next((stage.augmentation for _, stage in stages if stage.augmentation), ())
    view = factory.view_of(strategy.model, strategy.input, dict(statistics))
    rows = _spread(index, AUGMENTED)
    store = store_for(view, image_store)
    stored = store.rows_of(index["pixel_sha256"])[rows]
    split = Split("train", store, stored, index["label"].to_numpy()[rows])
    images = Images(split, view, PLAIN_CPU, operations, (training.seed,), VIEWS)
    views_VB3HW = [(images.pixels(number) * 255).round().to(torch.uint8) for number in range(VIEWS)]
    views_VBHW3 = [x_B3HW.permute(0, 2, 3, 1).numpy() for x_B3HW in views_VB3HW]
    views = [np.stack([of_view[place] for of_view in views_VBHW3]) for place in range(len(rows))]
    shown = index.iloc[rows]
    return samples.augmented_views(store.batch(stored), views, list(shown["class"]), list(shown["path"]))


def _spread(index: pd.DataFrame, most: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Choose training rows for a figure: the first ones of each class in turn."""
    train = index[index["split"] == "train"]
    turn = train.groupby("label").cumcount()
    chosen = train.assign(turn=turn).sort_values(["turn", "label"], kind="stable").head(most)
    return chosen.index.to_numpy()


def draw_cost(comparison: pd.DataFrame, costs: pd.DataFrame, facts: Document) -> Figure:
    """Draw accuracy against cost, with the published figures."""
    return cost.accuracy_against_cost(comparison, costs, facts["published"], facts["reference_lines"])


def draw_figures(
    name: str,
    strategy: Strategy,
    history: pd.DataFrame,
    confusion: pd.DataFrame,
    predictions: pd.DataFrame,
    statistics: Document,
    index: pd.DataFrame,
    image_store: Stores,
) -> dict[str, Figure]:
    """Draw a strategy: errors by epoch, confusion (classes in the order of their labels), reliability, test images."""
    augmented = [stage for stage, plan in strategy.stages.items() if plan.augmentation or plan.mixes]
    return {
        "errors": curves.strategy_errors(history, name, augmented),
        "confusion": evaluation.confusion_matrix(confusion, name, statistics["classes"]),
        "reliability": evaluation.reliability(predictions, name),
        "grid": _grid(name, predictions, index, image_store),
    }


def _grid(name: str, predictions: pd.DataFrame, index: pd.DataFrame, image_store: Stores) -> Figure:
    examples = samples.pick_examples(predictions, name)
    store = largest(image_store.values())
    row_of = pd.Series(store.rows_of(index["pixel_sha256"]), index=index["path"])
    return samples.prediction_grid(store.batch(row_of[examples["path"]]), examples)
