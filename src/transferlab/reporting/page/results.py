"""Formats the tables that compare strategies: with each other, and with published figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from transferlab.reporting.evidence import has_own_test_images
from transferlab.reporting.gaps import told_apart
from transferlab.reporting.page.grid import Cell, Grid, grid
from transferlab.reporting.recommendation import deciding
from transferlab.reporting.wording import (
    METRIC_NAMES,
    NOTHING,
    capital,
    compact,
    count,
    difference,
    interval,
    number,
    signed_interval,
    title,
)


def comparison(table: pd.DataFrame, cost: pd.DataFrame) -> Grid:
    """List strategies, the best first: a column per metric, then size, test images, trials and the selection rule.

    The metric that decides has the first column.
    """
    parameters = cost.groupby("strategy")["total_parameters"].max()
    first = deciding(table).reset_index()
    decides = first["metric"].iloc[0]
    metrics = sorted(table["metric"].unique(), key=lambda metric: (metric != decides, *_metric_order(metric)))
    by_metric = table.set_index(["strategy", "metric"])

    def cell(strategy: str, metric: str) -> Cell:
        if (strategy, metric) not in by_metric.index:
            return Cell(NOTHING)
        row = by_metric.loc[(strategy, metric)]
        return Cell(number(row["mean"], metric), _intervals(row, metric))

    rows = (
        (
            capital(title(row["strategy"])),
            [
                *(cell(row["strategy"], metric) for metric in metrics),
                _size(parameters.get(row["strategy"])),
                _tested(row),
            ],
        )
        for row in first.to_dict("records")
    )
    heads = [_head(metric, table, first["test_images"].max()) for metric in metrics]
    return grid([*heads, "Parameters", "Test images"], rows)


def _intervals(row: pd.Series, metric: str) -> str:
    """Write the interval over trials and images first; behind it, named, the one over trials alone."""
    whole = interval(row["low_images"], row["high_images"], metric)
    alone = interval(row["low"], row["high"], metric)
    if has_own_test_images(row):
        return whole or alone or "no interval"
    return f"{whole}\ntrials alone\n{alone}".strip() if alone else whole or "no interval"


def _tested(row: Mapping[str, Any]) -> Cell:
    """Write on how many images a strategy was tested, in how many trials, and how their epochs were selected."""
    groups = f" in {count(row['groups'], 'group')}" if row["groups"] else ""
    return Cell(count(row["test_images"]) + groups, f"{count(row['trials'], 'trial')}, {row['selection']}", words=True)


def _size(parameters: float | None) -> Cell:
    """Write the number of parameters of a network, and what they take as float32 (4 bytes each)."""
    if parameters is None:
        return Cell(NOTHING)
    megabytes = 4 * parameters / 1e6
    return Cell(compact(parameters), f"{megabytes:,.0f} MB" if megabytes >= 10 else f"{megabytes:.2g} MB")


def _head(metric: str, table: pd.DataFrame, test_images: int) -> str:
    """Name the metric, with the number of images where it was measured on a part of the test images only."""
    images = table.loc[table["metric"] == metric, "test_images"].max()
    return capital(title(metric)) + (f" ({count(images, 'image')})" if images != test_images else "")


def _metric_order(metric: str) -> tuple[int, str]:
    known = list(METRIC_NAMES)
    return (known.index(metric) if metric in known else len(known), metric)


def published(table: pd.DataFrame, facts: Mapping[str, Any]) -> Grid | None:
    """List published figures beside ours of the same strategy and metric; return None when there are none."""
    if not facts.get("published"):
        return None
    ours = table.set_index(["strategy", "metric"])
    rows = []
    for given in facts["published"]:
        key = (given["strategy"], given["metric"])
        own = ours.loc[key] if key in ours.index else None
        here = [Cell(NOTHING), Cell(NOTHING)]
        if own is not None:
            here = [
                Cell(number(own["mean"], key[1]), _intervals(own, key[1])),
                Cell(own["selection"], words=True),
            ]
        said = [Cell(given["selection"] or NOTHING, words=True), Cell(given["source"], words=True)]
        rows.append((capital(title(key[0])), [Cell(title(key[1])), Cell(number(given["value"], key[1])), *said, *here]))
    return grid(["Metric", "Published", "Their selection", "Source", "Ours", "Our selection"], rows)


def differences(table: pd.DataFrame) -> Grid:
    """List every pair of the table: the difference with both 95% intervals, and whether it is told apart."""
    rows = []
    for row in table.to_dict("records"):
        metric = row["metric"]
        cells = [
            Cell(title(metric)),
            Cell(difference(row["difference"], metric)),
            Cell(signed_interval(row["low_images"], row["high_images"], metric) or NOTHING),
            Cell(signed_interval(row["low"], row["high"], metric) or NOTHING),
            Cell(
                "told apart" if told_apart(row["low_images"], row["high_images"], row["trials"]) else "not told apart"
            ),
            Cell(str(row["trials"])),
            Cell(count(row["test_images"])),
        ]
        rows.append((f"{capital(title(row['strategy']))} against {title(row['versus'])}", cells))
    trials_and_images, trials = "95%, trials and images", "95%, trials alone"
    return grid(["Metric", "Difference", trials_and_images, trials, "Verdict", "Trials", "Test images"], rows)
