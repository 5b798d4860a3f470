"""The end of a run in the terminal: one table with each strategy's result, its gap to the leader, and its cost."""

from __future__ import annotations

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from transferlab.reporting.evidence import has_own_test_images
from transferlab.reporting.gaps import gap_between
from transferlab.reporting.recommendation import deciding, seconds_alone
from transferlab.reporting.verdict import Verdict, verdict
from transferlab.reporting.wording import NOTHING, capital, compact, count, duration, interval, number, title

WHOLE = 110  # letters that all columns need
_FIRST, _MORE = ("Strategy", "Metric"), ("Trials alone", "Against the leader", "One trial", "Trainable")
_WIDE = {"Trials alone", "Trainable"}


def comparison_table(
    comparison: pd.DataFrame, differences: pd.DataFrame, cost: pd.DataFrame, width: int = WHOLE
) -> Table:
    """Build the table that ends a run; its caption is the verdict and says what the numbers are.

    Args:
        comparison: the comparison table.
        differences: the differences table.
        cost: the cost table.
        width: of the terminal, in letters; a narrow one gets the columns that matter most.

    Raises:
        ValueError: no row of the comparison table decides.
    """
    answer, rows = verdict(comparison, differences, cost), deciding(comparison)
    metric = str(rows["metric"].iloc[0])
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), title_justify="left", caption_justify="left")
    table.title = f"Test {title(metric)} on {count(rows['test_images'].max(), 'image')}, {_trials(rows['trials'])}"
    table.add_column("Strategy", no_wrap=True)
    table.add_column(capital(title(metric)), justify="right", no_wrap=True)
    shown = [name for name in _MORE if width >= WHOLE or name not in _WIDE]
    for name in shown:
        table.add_column(name, justify="right")
    spent = cost.assign(alone=seconds_alone(cost)).groupby("strategy")[["alone", "trainable_parameters"]].mean()
    for strategy, row in rows.iterrows():
        cells = _cells(str(strategy), row, answer, differences, spent)
        table.add_row(
            *(Text(cells[name]) for name in (*_FIRST, *shown)), style="bold" if strategy == answer.recommended else None
        )
    rules = "; ".join(dict.fromkeys(rows["selection"]))
    whole = "splits" if has_own_test_images(rows.iloc[0]) else "trials and test images"
    alone = (
        "splits, corrected for the training images they share" if whole == "splits" else "trials, on these test images"
    )
    table.caption = Text(
        f"{answer.headline}\n{capital(title(metric))}: mean over trials [95% interval over {whole}], "
        f"selection: {rules}. {f'Trials alone: 95% t interval over {alone}. ' if 'Trials alone' in shown else ''}"
        f"Against the leader: paired difference [95% interval over {whole}]. One trial: its time alone, training and "
        "the features of layers that stay frozen."
    )
    return table


def _trials(trials: pd.Series) -> str:
    fewest, most = trials.min(), trials.max()
    return f"{f'{fewest} to ' if fewest < most else ''}{count(most, 'trial')} each"


def _cells(
    name: str, row: pd.Series, answer: Verdict, differences: pd.DataFrame, spent: pd.DataFrame
) -> dict[str, str]:
    metric, has_cost = str(row["metric"]), name in spent.index
    return {
        "Strategy": capital(title(name)),
        "Metric": f"{number(row['mean'], metric)} {interval(row['low_images'], row['high_images'], metric)}".rstrip(),
        "Trials alone": interval(row["low"], row["high"], metric) or NOTHING,
        "Against the leader": _against_leader(name, row, answer, differences),
        "One trial": duration(spent.loc[name, "alone"]) if has_cost else NOTHING,
        "Trainable": compact(spent.loc[name, "trainable_parameters"]) if has_cost else NOTHING,
    }


def _against_leader(name: str, row: pd.Series, answer: Verdict, differences: pd.DataFrame) -> str:
    if answer.leader is None or row["standing"] == "not ranked":
        return "not ranked"
    if name == answer.leader:
        return "leads" if answer.clear else "leads, not clearly"
    return str(gap_between(differences, name, answer.leader, str(row["metric"]))).replace(" points", "")
