"""Says what to do with the answer: the exact commands for this run."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from transferlab.reporting.evidence import has_own_test_images, least_clear
from transferlab.reporting.recommendation import deciding
from transferlab.reporting.verdict import Verdict
from transferlab.reporting.wording import enumerate_words, title

KEDRO = "uv run kedro"
_ENOUGH_TRIALS = 5


@dataclass(frozen=True)
class Step:
    """Something to do next, and the command or the file for it."""

    text: str
    command: str = ""


_LOOK = Step("Look at the photographs that are most often wrong (in “Where they err”): a label may be wrong, too.")


def next_steps(
    facts: Mapping[str, Any],
    verdict: Verdict,
    comparison: pd.DataFrame,
    differences: pd.DataFrame,
    metrics: pd.DataFrame,
    duplicates: pd.DataFrame,
) -> list[Step]:
    """List what to do next, the most useful first.

    Args:
        facts: the facts dict.
        verdict: the answer.
        comparison: the comparison table.
        differences: the differences table, which says what more trials can tell apart.
        metrics: the metrics table, which names the checkpoints that were evaluated.
        duplicates: pairs of the same photograph; only those across splits can be excluded.
    """
    environment = f"--env={shlex.quote(facts['experiment'])}"
    steps = [
        *_use(facts, verdict, metrics, environment),
        _LOOK,
    ]
    steps += _surer(verdict, comparison, differences, environment)
    if (duplicates["split_a"] != duplicates["split_b"]).any() and "excluded" not in facts["images"]:
        run = f"{KEDRO} run --pipeline=transfer {environment} --params=dataset.duplicates=exclude"
        steps.append(Step("Look at the duplicates across splits, and train without those that are real.", run))
    curve = f"{KEDRO} run --pipeline=learning_curve {environment}"
    return [
        *steps,
        Step("Ask whether more labels would help: train on parts of the images, and extrapolate.", curve),
        Step(
            f"Change a recipe in conf/{facts['experiment']}/parameters.yml, then train and compare again.",
            f"{KEDRO} run --pipeline=transfer {environment}",
        ),
        Step("See all runs of this experiment.", f"{KEDRO} transferlab versions {environment}"),
        Step("Draw this page again from the stored tables.", f"{KEDRO} run --pipeline=report {environment}"),
    ]


def _use(facts: Mapping[str, Any], verdict: Verdict, metrics: pd.DataFrame, environment: str) -> list[Step]:
    """Give the commands that use the strategy which the verdict recommends, and name its files."""
    name = verdict.recommended
    if name is None:
        return []
    version = metrics.loc[metrics["strategy"] == name, "checkpoint_version"].iloc[0]
    model = f"{name}@{version}"
    return [
        Step(
            f"Use {title(name)}: predict new photographs, with a table of all probabilities.",
            f"{KEDRO} transferlab predict path/to/new/images {model} {environment} --out=predictions.csv",
        ),
        Step(
            "Export it for other programs, as ONNX with a model card.",
            f"{KEDRO.replace('run', 'run --extra export', 1)} transferlab export {model} {environment} --out=my_model",
        ),
        Step(
            "Its trained networks, one file per trial, are in this folder:",
            f"data/06_models/{facts['experiment']}/{name}/checkpoints/{version}",
        ),
    ]


def _surer(verdict: Verdict, comparison: pd.DataFrame, differences: pd.DataFrame, environment: str) -> list[Step]:
    """Recommend more trials where too few leave the answer open; more images where no number of trials is enough."""
    trials = int(comparison["trials"].max())
    if verdict.clear or comparison["strategy"].nunique() < 2:
        return []
    more = max(_ENOUGH_TRIALS, 2 * trials)
    open_ones = [verdict.leader, *verdict.rivals] if verdict.leader else list(comparison["strategy"].unique())
    apart = f"Tell {enumerate_words([title(name) for name in open_ones])} apart:"
    run = f"{KEDRO} run --pipeline=transfer {environment} --params=training.trials={more}"
    splitting = comparison["splitting"].iloc[0]
    rows = deciding(comparison)
    row = (
        least_clear(differences, rows, verdict.leader, verdict.recommended, verdict.rivals) if verdict.leader else None
    )
    if row is not None and math.isinf(row["trials_needed"]):
        return [_more_images(apart, rows.iloc[0], bool(math.isinf(row["images_needed"])), run, more)]
    if splitting == "re-splits":
        return [Step(f"{apart} train on {more} re-splits instead of {trials}.", f"{run},dataset.split.resplits={more}")]
    if splitting != "one split":
        return [Step(f"{apart} raise the number of splits (dataset.split), and training.trials with it.")]
    text = (
        f"{apart} train {more} trials instead of {trials}. If the interval over trials alone is already much narrower "
        "than the one over trials and images, only more test photographs help."
    )
    return [Step(text, run)]


def _more_images(apart: str, row: pd.Series, takes_both: bool, run: str, more: int) -> Step:
    """Recommend more photographs, as the answer does: with those that there are, no number of trials is enough."""
    if has_own_test_images(row):
        return Step(f"{apart} collect more photographs; no number of further splits of these is enough.")
    cure = "add more test photographs"
    why = "either alone is not enough" if takes_both else "more trials alone are not enough"
    if takes_both:
        cure += " and train more trials"
    if row["splitting"] != "one split":
        return Step(f"{apart} {cure}; {why}.")
    resplit = f"Unless the data bring their own test split, {more} re-splits test on other photographs each time"
    return Step(f"{apart} {cure}; {why}. {resplit}:", f"{run},dataset.split.resplits={more}")
