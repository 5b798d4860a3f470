"""The nodes of the report: each hands stored tables and images to `reporting`."""

from __future__ import annotations

import logging
import platform
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import fields
from importlib.metadata import version
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import yaml

from transferlab.config.schema import Dataset, Report, Training
from transferlab.console.commands import command
from transferlab.core.data.store import ImageStore, largest
from transferlab.core.data.subsets import parts
from transferlab.core.evaluation import comparison
from transferlab.core.evaluation.contributions import Outcomes
from transferlab.core.evaluation.design import Design
from transferlab.core.loading.images import Images, Split
from transferlab.core.loading.splits import store_for
from transferlab.core.models import factory
from transferlab.core.runtime.device import PLAIN_CPU
from transferlab.core.strategies.strategy import Strategy
from transferlab.datasets.checkpoints import StoredTrials
from transferlab.datasets.parameters import UsedParameters
from transferlab.reporting.figures import samples
from transferlab.reporting.page.mistakes import mistakes as mistakes_of
from transferlab.reporting.page.page import Tables, render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)
Document = Mapping[str, Any]
Stores = Mapping[str, ImageStore]
BATCH, AUGMENTED, VIEWS = 12, 6, 5


def gather(*tables: pd.DataFrame) -> pd.DataFrame:
    """Join the tables of all strategies."""
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def compare(
    metrics: pd.DataFrame, index: pd.DataFrame, dataset: Dataset, report: Report, *predictions: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare strategies: means with intervals (of a subset, the accuracy), and paired differences."""
    logger.info("comparing strategies and drawing the report")
    design = Design.of_index(index, report.metric, report.margin, is_folds=bool(dataset.split.folds))
    outcomes = [Outcomes.of(table) for table in predictions]
    tables = [comparison.compare(metrics[metrics["split"] == "test"], outcomes, design)]
    for part in parts(sorted({path for each in outcomes for path in each.paths}), dataset.subsets):
        rows = metrics[metrics["split"] == part]
        if part != "test":
            of_part = [each.where(parts(list(each.paths), dataset.subsets)[part]) for each in outcomes]
            table = comparison.compare(rows[rows["metric"] == "accuracy"], of_part, design)
            tables.append(table.assign(metric=f"accuracy_{part.removeprefix('test/')}", decides=False))
    return pd.concat(tables, ignore_index=True), comparison.differences(outcomes, design)


def collect_facts(
    experiment: str,
    run_id: str,
    dataset: Dataset,
    training: Training,
    report: Report,
    statistics: Document,
    quarantine: pd.DataFrame,
    cost: pd.DataFrame,
    acquired: dict[str, str],
    parameters_used: UsedParameters,
    *checkpoints: StoredTrials,
) -> dict[str, Any]:
    """Collect what the report says beyond the tables: data, recipes, licences, published figures, versions, machine."""
    first = cost.iloc[0]
    trained = sorted({trials.version for trials in checkpoints if trials.version})
    packages = ("transferlab", "kedro", "torch", "torchvision", "timm", "numpy", "scikit-learn")
    return {
        "experiment": experiment,
        "title": report.title,
        "description": f"{report.description} {acquired['note']}".strip(),
        "classes": statistics["classes"],
        "images": statistics["images"],
        "quarantined": int((quarantine["status"] == "quarantined").sum()),
        "ignored": int((quarantine["status"] == "ignored").sum()),
        "licence": dataset.licence,
        "seen_in_pretraining": dataset.seen_in_pretraining,
        "seen_in_pretraining_note": dataset.seen_in_pretraining_note,
        "published": [row.model_dump() for row in report.published],
        "reference_lines": [row.model_dump() for row in report.reference_lines],
        "run_id": run_id,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "device": first["device"],
        "device_name": str(first["device_name"]),
        "threads": int(first["threads"]),
        "seed": training.seed,
        "trials": training.least_trials,
        "recipes": dict(recipe for trials in checkpoints for recipe in recipe_of(trials)),
        "overrides": {run: changed for run in trained if (changed := parameters_used.overrides(run))},
    }


def recipe_of(trials: StoredTrials) -> Iterator[tuple[str, str]]:
    """Yield a strategy's name and the YAML it was trained by, if its checkpoints have a recipe."""
    for trial in islice(trials, 1):
        header = trials[trial].header
        if header.strategy and header.recipe:
            recipe = yaml.safe_dump({header.strategy: header.recipe}, sort_keys=False, default_flow_style=None)
            yield header.strategy, textwrap.indent(recipe, "  ")


def draw_batch(index: pd.DataFrame, image_store: Stores) -> Figure:
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
) -> Figure:
    """Draw the same images as the first strategy that augments sees them; as they are cropped when none does."""
    stages = [(strategy, stage) for strategy in strategies.values() for stage in strategy.stages.values()]
    strategy = next((s for s, stage in stages if stage.augmentation), next(iter(strategies.values())))
    operations = next((stage.augmentation for _, stage in stages if stage.augmentation), ())
    view = factory.view_of(strategy.model, strategy.input, dict(statistics))
    rows = _spread(index, AUGMENTED)
    store = store_for(view, image_store)
    stored = store.rows_of(index["pixel_sha256"])[rows]
    split = Split("train", store, stored, index["label"].to_numpy()[rows])
    images = Images(split, view, PLAIN_CPU, operations, (training.seed,), VIEWS)
    views_VBHW3 = [_uint8(images.pixels(number)) for number in range(VIEWS)]
    views = [np.stack([of_view[place] for of_view in views_VBHW3]) for place in range(len(rows))]
    shown = index.iloc[rows]
    return samples.augmented_views(store.batch(stored), views, list(shown["class"]), list(shown["path"]))


def _uint8(x_B3HW: torch.Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Turn values in [0, 1] into pixels (B, H, W, 3) for a figure."""
    return (x_B3HW * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _spread(index: pd.DataFrame, most: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Choose training rows for a figure: the first ones of each class in turn."""
    train = index[index["split"] == "train"]
    turn = train.groupby("label").cumcount()
    chosen = train.assign(turn=turn).sort_values(["turn", "label"], kind="stable").head(most)
    return chosen.index.to_numpy()


def draw_grid(name: str, predictions: pd.DataFrame, index: pd.DataFrame, image_store: Stores) -> Figure:
    """Draw test images with truth, prediction and confidence."""
    examples = samples.pick_examples(predictions, name)
    store = largest(image_store.values())
    row_of = pd.Series(store.rows_of(index["pixel_sha256"]), index=index["path"])
    return samples.prediction_grid(store.batch(row_of[examples["path"]]), examples)


def list_mistakes(*predictions: pd.DataFrame) -> pd.DataFrame:
    """List the test images that are wrong most often and most surely, over all trials of all strategies."""
    return mistakes_of(predictions)


def write_page(strategies: list[str], figures: dict[str, str], facts: Document, **named: Any) -> str:
    """Write the page.

    Args:
        strategies: their names.
        figures: for each dataset that is a figure, its name on the page.
        facts: see `collect_facts`.
        named: by the names of their datasets: the figures, the summary and checkpoints of each strategy, and the tables
            that are fields of `Tables`; `rounds` only where trials came in rounds.
    """
    summaries = {name: named[f"{name}.summary"] for name in strategies}
    tables = Tables(
        summaries=summaries, **{field.name: named[field.name] for field in fields(Tables) if field.name in named}
    )
    warnings = [
        *stale(tables.metrics, {name: named[f"{name}.checkpoints"] for name in strategies}),
        *diverged(tables.cost, facts["trials"]),
    ]
    return render(facts, tables, {on_page: named[dataset] for dataset, on_page in figures.items()}, warnings)


def diverged(cost: pd.DataFrame, trials: int) -> list[str]:
    """Write a sentence for each strategy that lacks trials: where they diverged, the others alone flatter it."""
    return [
        f"{name}: {trials - finished} of {trials} trials diverged, which flatters it, or were not trained "
        "(training.trials was smaller then); they are left out of every figure"
        for name, finished in cost.groupby("strategy", sort=False).size().items()
        if finished < trials
    ]


def stale(metrics: pd.DataFrame, checkpoints: dict[str, StoredTrials]) -> list[str]:
    """Write a sentence for each strategy whose newest checkpoints are not those its metrics were measured on."""
    measured = metrics.groupby("strategy")["checkpoint_version"].first()
    return [
        f"{name}: the metrics are of checkpoint version {measured[name]}, but {trials.version} is newer; "
        f"run `{command('run', f'--nodes={name}.evaluate')}`, then `{command('run', '--pipeline=report')}`"
        for name, trials in checkpoints.items()
        if measured[name] != trials.version
    ]
