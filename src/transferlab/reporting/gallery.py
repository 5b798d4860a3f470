"""All figures of a report that are drawn from tables, and what each kind of figure is called on the page.

A figure's name is its kind, then a dot and the strategy where it is about one: `"all_errors"`, `"errors.fine_tuning"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from transferlab.reporting.comparison import accuracy_against_cost
from transferlab.reporting.curves import all_errors, strategy_errors
from transferlab.reporting.evaluation import confusion_matrix, reliability
from transferlab.reporting.forest import paired_differences
from transferlab.reporting.steps import learning_rates, step_losses
from transferlab.reporting.wording import title


@dataclass(frozen=True)
class Kind:
    """Where the page shows a kind of figure, and its text for those who do not see it (`{}` is the strategy)."""

    section: str
    alt: str


KINDS = {
    "accuracy_against_cost": Kind(
        "answer", "Accuracy of every strategy over the time of a trial: numbers in the tables"
    ),
    "differences_accuracy": Kind("differences", "Forest plot of the paired accuracy differences in the table below"),
    "differences_log_loss": Kind("differences", "Forest plot of the paired log-loss differences in the table below"),
    "batch": Kind("data", "Photographs of the data with their classes"),
    "augmented": Kind("data", "Photographs beside augmented views of them"),
    "all_errors": Kind("learning", "Held-out error of every strategy per epoch"),
    "errors": Kind("learning", "Train and held-out error of {} per epoch, stages marked"),
    "learning_rates": Kind("learning", "Learning rate of every step for all strategies"),
    "step_losses": Kind("learning", "Training loss of every step, a panel per strategy"),
    "confusion": Kind("errors", "Confusion matrix of {}, summed over trials"),
    "grid": Kind("errors", "Test photographs with truth, prediction and confidence of {}"),
    "reliability": Kind("errors", "Reliability diagram of {}: share that is right over confidence"),
}


def kind_of(name: str) -> tuple[Kind, str]:
    """The kind of a figure's name and its alternative text.

    Raises:
        ValueError: the name's first part is not a known kind.
    """
    first, _, strategy = name.partition(".")
    if first not in KINDS:
        raise ValueError(
            f"figure {name!r}: name it <kind> or <kind>.<strategy>, where a kind is one of {sorted(KINDS)}"
        )
    return KINDS[first], KINDS[first].alt.format(title(strategy))


def draw_tables(
    *,
    facts: Mapping[str, Any],
    history: pd.DataFrame,
    steps: pd.DataFrame,
    predictions: pd.DataFrame,
    confusion: pd.DataFrame,
    comparison: pd.DataFrame,
    differences: pd.DataFrame,
    cost: pd.DataFrame,
) -> dict[str, Figure]:
    """Draw every figure that needs tables only: all but `batch`, `augmented` and `grid.<strategy>`.

    Args:
        facts: the facts dict; classes, published and reference_lines are used.
        history: the history table.
        steps: the steps table; empty when no strategy trained, and then its two figures are left out.
        predictions: the predictions table.
        confusion: the confusion table.
        comparison: the comparison table.
        differences: the differences table; a metric it lacks (one strategy: all) has no figure.
        cost: the cost table.

    Returns:
        Figure by name, in the order of the page.
    """
    published, reference_lines = facts.get("published") or (), facts.get("reference_lines") or ()
    figures = {"accuracy_against_cost": accuracy_against_cost(comparison, cost, published, reference_lines)}
    for metric in ("accuracy", "log_loss"):
        if (differences["metric"] == metric).any():
            figures[f"differences_{metric}"] = paired_differences(differences, metric)
    figures["all_errors"] = all_errors(history)
    figures |= {f"errors.{name}": strategy_errors(history, name) for name in history["strategy"].unique()}
    if len(steps):
        figures |= {"learning_rates": learning_rates(steps), "step_losses": step_losses(steps)}
    for name in confusion["strategy"].unique():
        figures[f"confusion.{name}"] = confusion_matrix(confusion, name, facts["classes"])
    for name in predictions["strategy"].unique():
        figures[f"reliability.{name}"] = reliability(predictions, name)
    return figures
