"""Lists the kinds of figures of a report: the section that shows each, and its alternative text.

A figure's name is its kind, then a dot and the strategy where it is about one: `"all_errors"`, `"errors.fine_tuning"`.
"""

from __future__ import annotations

from dataclasses import dataclass

from transferlab.reporting.wording import title


@dataclass(frozen=True)
class Kind:
    """How a page shows a kind of figure.

    Attributes:
        section: where.
        alt: its alternative text; `{}` is the strategy.
        is_of_photographs: rather than lines and words, so that a lossy format suits it.
    """

    section: str
    alt: str
    is_of_photographs: bool = False


KINDS = {
    "accuracy_against_cost": Kind(
        "answer", "Accuracy, or what else decides, of every strategy over the time of a trial: numbers in the tables"
    ),
    "differences": Kind("differences", "Forest plot of the paired differences that decide, as in the table below"),
    "differences_beside": Kind("differences", "Forest plot of the paired differences in log loss, or in accuracy"),
    "uncertainty": Kind(
        "uncertainty", "Shares of seeds, training and test images in each difference: numbers in the table below"
    ),
    "batch": Kind("data", "Photographs of the data with their classes", is_of_photographs=True),
    "augmented": Kind("data", "Photographs beside augmented views of them", is_of_photographs=True),
    "learning_curve": Kind(
        "learning", "Test metric of every strategy over the number of training images, with fitted curves"
    ),
    "all_errors": Kind("learning", "Held-out error of every strategy per epoch"),
    "errors": Kind("learning", "Train and held-out error of {} per epoch, stages marked"),
    "learning_rates": Kind("learning", "Learning rate of every step for all strategies"),
    "step_losses": Kind("learning", "Training loss of every step, a panel per strategy"),
    "confusion": Kind("errors", "Confusion matrix of {}: shares of each true class, mean over trials"),
    "grid": Kind("errors", "Test photographs with truth, prediction and confidence of {}", is_of_photographs=True),
    "reliability": Kind("errors", "Reliability diagram of {}: share that is right over confidence"),
}


def kind_of(name: str) -> tuple[Kind, str]:
    """Find the kind of a named figure, and its alternative text.

    Raises:
        ValueError: the name's first part is not a known kind.
    """
    first, _, strategy = name.partition(".")
    if first not in KINDS:
        raise ValueError(
            f"figure {name!r}: name it <kind> or <kind>.<strategy>, where a kind is one of {sorted(KINDS)}"
        )
    return KINDS[first], KINDS[first].alt.format(title(strategy))
