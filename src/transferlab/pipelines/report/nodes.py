"""The nodes of the report: each hands stored tables to `reporting`."""

from __future__ import annotations

import logging
import platform
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from importlib.metadata import version
from itertools import islice
from typing import Any

import pandas as pd
import yaml

from transferlab.config.schema import Dataset, Report, Training
from transferlab.console.commands import command
from transferlab.core.data.subsets import parts
from transferlab.core.evaluation import comparison
from transferlab.core.evaluation.contributions import Outcomes
from transferlab.core.evaluation.design import Design
from transferlab.datasets.checkpoints import StoredTrials
from transferlab.datasets.parameters import UsedParameters
from transferlab.reporting.page.mistakes import mistakes as mistakes_of
from transferlab.reporting.page.page import Tables, render
from transferlab.reporting.wording import count, enumerate_words

logger = logging.getLogger(__name__)
FEWEST_TEST_IMAGES = 5  # of a class: with fewer, one image moves its recall by a quarter or more
MOST_NAMED = 3  # classes in one sentence
Document = Mapping[str, Any]
Results = Mapping[str, Any]  # of a strategy: what its nodes have saved, by kind


def collect(*parts: Any) -> dict[str, Any]:
    """Close a strategy: its results are what its nodes have saved, so there is nothing to save here."""
    return {}


def gather(names: Sequence[str], *results: Results) -> list[pd.DataFrame]:
    """Join the tables of all strategies, each table by itself."""
    return [_joined([result[name] for result in results]) for name in names]


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def compare(
    metrics: pd.DataFrame, index: pd.DataFrame, dataset: Dataset, report: Report, *results: Results
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare strategies: means with intervals (of a subset, the accuracy), and paired differences."""
    logger.info("comparing strategies and drawing the report")
    design = Design.of_index(index, report.metric, report.margin, is_folds=bool(dataset.split.folds))
    outcomes = [Outcomes.of(each["predictions"]) for each in results]
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
    *results: Results,
) -> dict[str, Any]:
    """Collect what the report says beyond the tables: data, recipes, licences, published figures, versions, machine."""
    first = cost.iloc[0]
    checkpoints: list[StoredTrials] = [each["checkpoints"] for each in results]
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


def list_mistakes(*results: Results) -> pd.DataFrame:
    """List the test images that are wrong most often and most surely, over all trials of all strategies."""
    return mistakes_of([each["predictions"] for each in results])


def write_page(strategies: list[str], figures: Sequence[str], facts: Document, **named: Any) -> str:
    """Write the page.

    Args:
        strategies: their names.
        figures: the datasets that are figures of several strategies.
        facts: see `collect_facts`.
        named: by the names of their datasets: those figures, the results of each strategy, and the tables that are
            fields of `Tables`; `rounds` only where trials came in rounds.
    """
    results: dict[str, Results] = {name: named[f"{name}.results"] for name in strategies}
    summaries = {name: result["summary"] for name, result in results.items()}
    tables = Tables(
        summaries=summaries, **{field.name: named[field.name] for field in fields(Tables) if field.name in named}
    )
    warnings = [
        *stale(tables.metrics, {name: result["checkpoints"] for name, result in results.items()}),
        *diverged(tables.cost, facts["trials"]),
        *hardly_tested(tables.per_class, facts["classes"]),
    ]
    pictures = {dataset.removeprefix("figure_"): named[dataset] for dataset in figures}
    for name, result in results.items():
        pictures |= {f"{kind}.{name}": png for kind, png in result["figures"].items()}
    return render(facts, tables, pictures, warnings)


def diverged(cost: pd.DataFrame, trials: int) -> list[str]:
    """Write a sentence for each strategy that lacks trials: where they diverged, the others alone flatter it."""
    return [
        f"{name}: {trials - finished} of {trials} trials diverged, which flatters it, or were not trained "
        "(training.trials was smaller then); they are left out of every figure"
        for name, finished in cost.groupby("strategy", sort=False).size().items()
        if finished < trials
    ]


def hardly_tested(per_class: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """Write a sentence on the classes with so few test images that their figures say little, if there are any."""
    images = per_class.groupby("class")["support"].max().reindex(list(classes), fill_value=0)
    few = images[images < FEWEST_TEST_IMAGES].sort_values(kind="stable")
    if few.empty:
        return []
    named = [f"{name} ({number:.0f})" for name, number in few.head(MOST_NAMED).items()]
    if len(few) > MOST_NAMED:
        named.append(count(len(few) - MOST_NAMED, "other class", "other classes"))
    return [
        f"a trial has fewer than {FEWEST_TEST_IMAGES} test images of {enumerate_words(named)}: "
        "figures per class say little there"
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
