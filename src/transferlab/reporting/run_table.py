"""The end of a run in the terminal: one table with each strategy's accuracy, its gap to the leader, and its cost."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from transferlab.reporting.verdict import Verdict, gap_between, seconds_alone, verdict
from transferlab.reporting.wording import NOTHING, capital, compact, count, duration, interval, number, title


def comparison_table(comparison: pd.DataFrame, differences: pd.DataFrame, cost: pd.DataFrame) -> Table:
    """Build the table that ends a run; its caption is the verdict and says what the numbers are.

    Args:
        comparison: the comparison table.
        differences: the differences table.
        cost: the cost table.

    Raises:
        ValueError: the comparison table has no accuracy row.
    """
    answer = verdict(comparison, differences, cost)
    accuracy = comparison[comparison["metric"] == "accuracy"].sort_values("mean", ascending=False, kind="stable")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), title_justify="left", caption_justify="left")
    table.title = f"Test accuracy on {count(accuracy['test_images'].max(), 'image')}"
    table.add_column("Strategy", no_wrap=True)
    for name in ("Accuracy", "Against the leader", "Trials", "One trial", "Trainable"):
        table.add_column(name, justify="right")
    spent = cost.assign(alone=seconds_alone(cost)).groupby("strategy")[["alone", "trainable_parameters"]].mean()
    for row in accuracy.to_dict("records"):
        table.add_row(*(Text(cell) for cell in _cells(row, answer, differences, spent)))
    rules = "; ".join(dict.fromkeys(accuracy["selection"]))
    table.caption = Text(
        f"{answer.headline}\nAccuracy: mean [95% t interval over trials, cut at 0 and 100], selection: {rules}. "
        "Against the leader: paired difference [95% interval over trials and test images]. One trial: its time alone, "
        "training and the features of layers that stay frozen."
    )
    return table


def _cells(row: dict[Hashable, Any], answer: Verdict, differences: pd.DataFrame, spent: pd.DataFrame) -> list[str]:
    name = row["strategy"]
    has_cost = name in spent.index
    return [
        capital(title(name)),
        f"{number(row['mean'], 'accuracy')} {interval(row['low'], row['high'], 'accuracy')}".rstrip(),
        _against_leader(row, answer, differences),
        str(row["trials"]),
        duration(spent.loc[name, "alone"]) if has_cost else NOTHING,
        compact(spent.loc[name, "trainable_parameters"]) if has_cost else NOTHING,
    ]


def _against_leader(row: dict[Hashable, Any], answer: Verdict, differences: pd.DataFrame) -> str:
    if answer.leader is None or row["trials"] < 2:
        return "not ranked"
    if row["strategy"] == answer.leader:
        return "leads" if answer.clear else "leads, not clearly"
    return str(gap_between(differences, row["strategy"], answer.leader)).replace(" points", "")
