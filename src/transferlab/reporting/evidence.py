"""What the intervals are over, in words (trials or re-splits, test images or groups of them), and what is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from transferlab.reporting.gaps import pair_of
from transferlab.reporting.wording import about, amount, capital, count, title

# Standard deviations between trials above which intervals of single strategies are too narrow: where accuracies differ
# by 7 points they cover 94 to 97%, by 9 points 93%, by 10 points 90% (benchmarks/coverage). Those of AUROC fail sooner.
UNSTABLE = {"accuracy": 0.07, "balanced_accuracy": 0.07, "macro_f1": 0.07, "auroc": 0.04}
FEW_GROUPS = 20  # with 10 groups, intervals of single strategies covered 90% in place of 95% (benchmarks/coverage)
_NOUNS = {"re-splits": "re-split", "folds": "fold"}
_CORRECTED = (
    "{made}: {splits}, with {images} in all. Their training images overlap, so the variance between them is corrected "
    "for that (Nadeau and Bengio 2003)"
)


def over(row: pd.Series) -> str:
    """Say what an interval over everything counts: `"3 trials and test images"`, `"5 folds"`."""
    groups = f"{count(row['groups'], 'group')} of test images" if row["groups"] else "test images"
    if has_own_test_images(row):
        grouped = f" (test images in {count(row['groups'], 'group')})" if row["groups"] else ""
        return f"{alone(row)}{grouped}"
    return f"{alone(row)} and {groups}"


def alone(row: pd.Series) -> str:
    """Say what an interval over trials alone counts: `"3 trials"`, `"5 folds"`."""
    return count(row["splits"], _NOUNS[row["splitting"]]) if has_own_test_images(row) else count(row["trials"], "trial")


def has_own_test_images(row: pd.Series) -> bool:
    """Say whether each trial was tested on images of its own."""
    return row["splitting"] in _NOUNS


def explained(row: pd.Series) -> list[str]:
    """Explain groups, and splits that differ between trials; nothing where there are none."""
    said = []
    if row["groups"]:
        groups = count(row["groups"], "group")
        few = "; so few groups make them somewhat too narrow" if row["groups"] < FEW_GROUPS else ""
        said.append(
            f"Test images are in {groups}, which stay on one side of every split; intervals are over groups{few}."
        )
    images, splits = count(row["test_images"], "different test image"), count(row["splits"], "split")
    if row["splitting"] == "re-splits":
        said.append(
            f"{_CORRECTED.format(made='Trials have random splits of their own', splits=splits, images=images)}."
        )
    elif row["splitting"] == "folds":
        made = "Each trial holds out another fold (cross-validation)"
        said.append(
            f"{_CORRECTED.format(made=made, splits=splits, images=images)}; no unbiased estimate of it exists "
            "(Bengio and Grandvalet 2004)."
        )
    elif row["splitting"] != "one split":
        said.append(
            f"All trials have the test images that the data bring; {splits} divide the others into training and "
            "validation images. These overlap, so the interval covers only part of what wholly different training "
            "images would change."
        )
    return said


def unstable(rows: pd.DataFrame) -> list[str]:
    """Say of strategies (rows by name) whose trials differ so much that their own intervals are too narrow."""
    return [
        f"{capital(title(str(name)))} is unstable: its trials differ by {amount(row['sd'], str(row['metric']))} "
        "(standard deviation). The interval of its own figure is too narrow then; those of differences hold."
        for name, row in rows.iterrows()
        if row["sd"] > UNSTABLE.get(str(row["metric"]), math.inf)
    ]


def least_clear(
    differences: pd.DataFrame, ranked: pd.DataFrame, leader: str, chosen: str | None, rivals: Sequence[str]
) -> pd.Series | None:
    """Return the row of the least clear of the comparisons that matter; None where it is known to within its target."""
    versus = chosen if chosen not in (leader, None) else rivals[0] if rivals else None
    row = None if versus is None else pair_of(differences, leader, versus, str(ranked["metric"].iloc[0]))
    return row if row is not None and row["high_images"] - row["low_images"] > 2 * row["target"] else None


def clearer(
    differences: pd.DataFrame, ranked: pd.DataFrame, leader: str, chosen: str, rivals: Sequence[str]
) -> list[str]:
    """Say what would make the least clear of the comparisons that matter clearer: seeds, test images, or both."""
    row = least_clear(differences, ranked, leader, chosen, rivals)
    if row is None:
        return []
    images, trials = row["images_needed"], row["trials_needed"]
    target = amount(row["target"], str(row["metric"]))
    versus = row["versus"] if row["strategy"] == leader else row["strategy"]
    pair = f"{title(leader)} and {title(str(versus))}"
    known = f"To know the difference between {pair} to within {target}"
    if math.isnan(images):  # trials have test images of their own
        if math.isinf(trials):
            return [f"{known}, no number of further splits of these images is enough; it takes more images."]
        return [f"{known}, it takes about {about(trials)} splits."]
    if math.isinf(images) and math.isinf(trials):
        return [f"{known}, more trials alone are not enough, nor more test images alone: it takes both."]
    if math.isinf(trials):
        power = row["images_for_power"]
        seen = f" (about {about(power)} to detect {target} four times out of five)" if math.isfinite(power) else ""
        return [f"{known}, more seeds do not help; about {about(images)} test images would{seen}."]
    if math.isinf(images):
        return [f"{known}, more test images do not help; about {about(trials)} trials would."]
    return [f"{known}, it takes about {about(images)} test images or about {about(trials)} trials."]
