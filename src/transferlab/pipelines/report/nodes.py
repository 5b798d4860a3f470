"""The nodes of the report: each hands stored tables and images to `reporting`."""

from __future__ import annotations

import logging
import platform
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from transferlab.config import parse, schema
from transferlab.core.data.store import ImageStore, largest
from transferlab.core.data.subsets import parts
from transferlab.core.evaluation import comparison
from transferlab.core.evaluation.contributions import Outcomes
from transferlab.core.loading.images import Images, Split
from transferlab.core.models import factory
from transferlab.core.runtime.device import Machine
from transferlab.core.strategies.strategy import Strategy
from transferlab.datasets.checkpoints import StoredTrials
from transferlab.pipelines.transfer.nodes import store_for
from transferlab.reporting.figures import samples
from transferlab.reporting.page.page import Tables, render

logger = logging.getLogger(__name__)
Parameters = dict[str, Any]
Stores = dict[str, ImageStore]
BATCH, AUGMENTED, VIEWS = 12, 6, 5
_CPU = Machine(torch.device("cpu"), torch.float32, "", 1)


def gather(*tables: pd.DataFrame) -> pd.DataFrame:
    """The tables of all strategies as one."""
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def compare(
    metrics: pd.DataFrame, dataset: Parameters, report: Parameters, *predictions: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return means with intervals per strategy (of a subset, the accuracy), and differences between strategies."""
    logger.info("comparing strategies and drawing the report")
    subsets = parse.read(schema.Dataset, dataset, "dataset").subsets
    wanted = parse.read(schema.Report, report, "report")
    design = comparison.Design(wanted.metric, wanted.margin)
    outcomes = [Outcomes.of(table) for table in predictions]
    tables = []
    for part, on_N in parts(list(outcomes[0].paths), subsets).items():
        rows = metrics[metrics["split"] == part]
        if part == "test":
            tables.append(comparison.compare(rows, outcomes, design))
        else:
            of_part = [each.where(on_N) for each in outcomes]
            table = comparison.compare(rows[rows["metric"] == "accuracy"], of_part, design)
            tables.append(table.assign(metric=f"accuracy_{part.removeprefix('test/')}", decides=False))
    return pd.concat(tables, ignore_index=True), comparison.differences(outcomes, design)


def collect_facts(
    experiment: str,
    run_id: str,
    dataset: Parameters,
    training: Parameters,
    report: Parameters,
    statistics: Parameters,
    quarantine: pd.DataFrame,
    cost: pd.DataFrame,
    acquired: dict[str, str],
) -> dict[str, Any]:
    """What the report says beyond the tables: the data, licences, published figures, versions, the machine."""
    data, texts = parse.read(schema.Dataset, dataset, "dataset"), parse.read(schema.Report, report, "report")
    common, first = parse.read(schema.Training, training, "training"), cost.iloc[0]
    packages = ("transferlab", "kedro", "torch", "torchvision", "timm", "numpy", "scikit-learn")
    return {
        "experiment": experiment,
        "title": texts.title,
        "description": f"{texts.description} {acquired['note']}".strip(),
        "classes": statistics["classes"],
        "images": statistics["images"],
        "quarantined": int((quarantine["status"] == "quarantined").sum()),
        "ignored": int((quarantine["status"] == "ignored").sum()),
        "licence": data.licence,
        "seen_in_pretraining": data.seen_in_pretraining,
        "seen_in_pretraining_note": data.seen_in_pretraining_note,
        "published": [row.model_dump() for row in texts.published],
        "reference_lines": [row.model_dump() for row in texts.reference_lines],
        "run_id": run_id,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "device": first["device"],
        "device_name": str(first["device_name"]),
        "threads": int(first["threads"]),
        "seed": common.seed,
        "trials": common.trials,
    }


def draw_batch(index: pd.DataFrame, image_store: Stores) -> Figure:
    """A labelled batch of training images, as they are stored."""
    rows = _spread(index, BATCH)
    store = largest(image_store.values())
    return samples.labelled_batch(store.batch(rows), list(index["class"].iloc[rows]))


def draw_augmented(
    index: pd.DataFrame, image_store: Stores, statistics: Parameters, strategies: Parameters, training: Parameters
) -> Figure:
    """The same images as the first strategy that augments sees them; as they are cropped when none does."""
    parsed = [parse.read(Strategy, raw, f"strategies.{name}") for name, raw in strategies.items()]
    stages = [(strategy, stage) for strategy in parsed for stage in strategy.stages.values()]
    strategy = next((s for s, stage in stages if stage.augmentation), parsed[0])
    operations = next((stage.augmentation for _, stage in stages if stage.augmentation), ())
    view = factory.view_of(strategy.model, strategy.input, statistics)
    rows = _spread(index, AUGMENTED)
    store = store_for(view, image_store)
    split = Split("train", store, rows, index["label"].to_numpy()[rows])
    images = Images(split, view, _CPU, operations, (parse.read(schema.Training, training, "training").seed,), VIEWS)
    views_VBHW3 = [_uint8(images.pixels(number)) for number in range(VIEWS)]
    views = [np.stack([of_view[place] for of_view in views_VBHW3]) for place in range(len(rows))]
    return samples.augmented_views(store.batch(rows), views, list(index["class"].iloc[rows]))


def _uint8(x_B3HW: torch.Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(B, H, W, 3) for a figure, from values in [0, 1]."""
    return (x_B3HW * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _spread(index: pd.DataFrame, most: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Training rows for a figure: the first ones of each class in turn."""
    train = index[index["split"] == "train"]
    turn = train.groupby("label").cumcount()
    chosen = train.assign(turn=turn).sort_values(["turn", "label"], kind="stable").head(most)
    return chosen.index.to_numpy()


def draw_grid(name: str, predictions: pd.DataFrame, index: pd.DataFrame, image_store: Stores) -> Figure:
    """Test images with truth, prediction and confidence."""
    examples = samples.pick_examples(predictions, name)
    row_of = pd.Series(index.index, index=index["path"])
    store = largest(image_store.values())
    return samples.prediction_grid(store.batch(row_of[examples["path"]]), examples)


def write_page(
    names: list[str],
    figure_names: list[str],
    facts: Parameters,
    comparison: pd.DataFrame,
    differences: pd.DataFrame,
    cost: pd.DataFrame,
    metrics: pd.DataFrame,
    per_class: pd.DataFrame,
    quarantine: pd.DataFrame,
    duplicates: pd.DataFrame,
    *rest: Any,
) -> str:
    """The page; after the named inputs come a summary and the checkpoints of each of `names`, then the figures."""
    summaries, checkpoints, figures = rest[: len(names)], rest[len(names) : 2 * len(names)], rest[2 * len(names) :]
    tables = Tables(
        comparison,
        differences,
        cost,
        metrics,
        per_class,
        quarantine,
        dict(zip(names, summaries, strict=True)),
        duplicates,
    )
    return render(
        facts,
        tables,
        dict(zip(figure_names, figures, strict=True)),
        [*stale(metrics, dict(zip(names, checkpoints, strict=True))), *diverged(cost, facts["trials"])],
    )


def diverged(cost: pd.DataFrame, trials: int) -> list[str]:
    """A sentence for each strategy of which trials are missing: where they diverged, the others alone flatter it."""
    return [
        f"{name}: {trials - finished} of {trials} trials diverged, which flatters it, or were not trained "
        "(training.trials was smaller then); they are left out of every figure"
        for name, finished in cost.groupby("strategy", sort=False).size().items()
        if finished < trials
    ]


def stale(metrics: pd.DataFrame, checkpoints: dict[str, StoredTrials]) -> list[str]:
    """A sentence for each strategy whose newest checkpoints are not those its metrics were measured on."""
    measured = metrics.groupby("strategy")["checkpoint_version"].first()
    return [
        f"{name}: the metrics are of checkpoint version {measured[name]}, but {trials.version} is newer; "
        f"run `kedro run --nodes={name}.evaluate`, then `kedro run --pipeline=report`"
        for name, trials in checkpoints.items()
        if measured[name] != trials.version
    ]
