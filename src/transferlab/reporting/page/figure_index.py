"""The kinds of figures that a report may have: where the page shows each, and what it says to those who do not see it.

A figure's name is its kind, then a dot and the strategy where it is about one: `"all_errors"`, `"errors.fine_tuning"`.
"""

from __future__ import annotations

from dataclasses import dataclass

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
