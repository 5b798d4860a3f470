"""Checks on an experiment's parameters that no single type can make."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from transferlab.config.messages import KeyProblem
from transferlab.config.schema import RESERVED, Dataset, Experiment
from transferlab.config.tables import missing_columns
from transferlab.core.data.listing.config import LabelTable
from transferlab.core.data.sources import FolderSource
from transferlab.core.data.split.names import TEST, VALIDATION, gives_validation, splits_by_name
from transferlab.core.evaluation.sequential import SequentialTrials
from transferlab.core.validation import FieldProblems, Problem

# More than any experiment needs, little enough that a slip of the keyboard stops the run and not the machine.
MOST = {
    "trials": 1000,
    "epochs": 100_000,
    "views": 100_000,
    "patience": 100_000,
    "every": 100_000,
    "batch_size": 1_000_000,
    "micro_batch": 1_000_000,
    "size": 8192,
    "resize": 8192,
    "threads": 1024,
    "workers": 1024,
    "devices": 1024,
    "parallel_trials": 1024,
}
MOST_OF_ANY = 1e30  # float32, in which networks compute, ends at 3.4e38
MOST_SCALE = 1000.0
LONGEST_NAME = 60  # of folders; file systems take 255 bytes


def out_of_range(value: Any, key: str = "", field: str = "") -> Iterator[Problem]:
    """Yield the numbers of a raw block that are not finite, or beyond what their key can sensibly hold.

    Args:
        value: the block, as JSON has it.
        key: the last key that led to it.
        field: all of them, dotted.
    """
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from out_of_range(inner, name, f"{field}.{name}".lstrip("."))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from out_of_range(inner, key, f"{field}.{number}")
        if key == "trainable":
            yield from _scales_out_of_range(value, field)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        most = MOST.get(key, MOST_OF_ANY)
        if isinstance(value, float) and not math.isfinite(value):
            yield KeyProblem(field, value, "must be a finite number")
        elif abs(value) > most:
            yield KeyProblem(
                field, value, f"must be at most {most:,.0f}" if key in MOST else f"must be within {most:g}"
            )


def _scales_out_of_range(rows: list[Any], field: str) -> Iterator[Problem]:
    for number, row in enumerate(rows):
        scale = row[1] if isinstance(row, list) and len(row) == 2 else None
        if isinstance(scale, (int, float)) and abs(scale) <= MOST_OF_ANY and not 0 < scale <= MOST_SCALE:
            yield KeyProblem(
                f"{field}.{number}.1", scale, f"must be above 0 and at most {MOST_SCALE:g}, or null for frozen"
            )


def conflicts(experiment: Experiment) -> Iterator[Problem]:
    """Yield what is wrong between blocks that are each right."""
    can_validate = _can_validate(experiment.dataset)
    yield from missing_columns(experiment.dataset)
    yield from _uneven_splits(experiment)
    for name, strategy in experiment.strategies.items():
        yield from _bad_names(name, strategy.stages)
        if strategy.decides and experiment.training.test_curve:
            yield Problem(
                "training.test_curve",
                True,
                f"but strategies.{name} decides by validation figures; set it to "
                "false, or give that strategy `select: last`, no plateau schedule and no patience",
            )
        if strategy.decides and not can_validate:
            yield Problem(
                "dataset.split.validation",
                experiment.dataset.split.validation,
                f"but strategies.{name} decides by a validation split (select: best, a plateau schedule or patience); "
                "give it a part of the images, e.g. 0.15",
            )
    for number, row in enumerate(experiment.report.published):
        if row.strategy not in experiment.strategies:
            known = tuple(experiment.strategies)
            yield Problem(
                f"report.published.{number}.strategy", row.strategy, "is no strategy of this experiment", known
            )
        if row.metric != "log_loss":
            yield from _no_share(f"report.published.{number}.value", row.value)
    for number, line in enumerate(experiment.report.reference_lines):
        yield from _no_share(f"report.reference_lines.{number}.value", line.value)
    yield from _no_curves(experiment)


def _no_curves(experiment: Experiment) -> Iterator[Problem]:
    """Yield the strategies of a learning curve that are not there, or train nothing."""
    for number, name in enumerate(experiment.learning_curve.strategies):
        field = f"learning_curve.strategies.{number}"
        if name not in experiment.strategies:
            yield Problem(field, name, "is no strategy of this experiment", tuple(experiment.strategies))
        elif name in experiment.learning_curve.strategies[:number]:
            yield Problem(field, name, "is named already: leave one out")
        elif not experiment.strategies[name].stages:
            yield Problem(field, name, "trains nothing, so that its curve is flat: leave it out")


def _uneven_splits(experiment: Experiment) -> Iterator[Problem]:
    """Yield a number of trials that does not use each re-split, or fold, equally often."""
    split, trials = experiment.dataset.split, experiment.training.trials
    if isinstance(trials, SequentialTrials):
        yield from _pointless_rounds(experiment, trials)
        return
    if trials % split.count:
        asked = f"folds: {split.folds}, repeats: {split.repeats}" if split.folds else f"resplits: {split.resplits}"
        yield Problem(
            "training.trials",
            trials,
            f"but dataset.split ({asked}) makes {split.count} splits, and trial t takes split t: set it to "
            f"{split.count} or a multiple, so that each is used equally often",
        )


def _pointless_rounds(experiment: Experiment, trials: SequentialTrials) -> Iterator[Problem]:
    """Yield what keeps trials in rounds from ever telling strategies apart."""
    if experiment.dataset.split.count > 1:
        yield Problem(
            "training.trials",
            "sequential",
            "stops by trials on one split, and dataset.split makes several, which share training images: give a number "
            "of trials, or leave resplits and folds out",
        )
    if len(experiment.strategies) < 2:
        yield Problem("training.trials", "sequential", "compares strategies, and there is one: give a number of trials")
    elif not trials.looks(len(experiment.strategies)):
        yield Problem(
            "training.trials.at_most",
            trials.at_most,
            f"so few trials cannot tell {len(experiment.strategies)} strategies apart, whatever they find: e.g. 10",
        )


def _bad_names(strategy: str, stages: Iterable[str]) -> Iterator[Problem]:
    """Yield names that cannot name a namespace, a folder or a column."""
    if strategy in RESERVED:
        yield Problem(f"strategies.{strategy}", strategy, "is taken by a pipeline or a command; choose another name")
    if not strategy.isidentifier():
        rule = "must be a plain name (letters, digits, _): it names a namespace"
        yield Problem(f"strategies.{strategy}", strategy, rule)
    names = {f"strategies.{strategy}": strategy, **{f"strategies.{strategy}.stages.{name}": name for name in stages}}
    for field, name in names.items():
        if len(name) > LONGEST_NAME:
            yield Problem(field, name, f"must have at most {LONGEST_NAME} letters: it names folders and columns")
    if strategy.startswith("figure_"):
        yield Problem(f"strategies.{strategy}", strategy, "must not begin with figure_, as the report's figures do")


def _no_share(field: str, value: float) -> Iterator[Problem]:
    if not 0 <= value <= 1:
        yield Problem(field, value, "must be a share between 0 and 1, such as 0.945 for 94.5%")


def _can_validate(dataset: Dataset) -> bool:
    """Tell whether there will be a validation split, as far as that is known before the images are read."""
    if dataset.split.validation > 0:
        return True
    if isinstance(dataset.layout, LabelTable):
        return dataset.layout.split is not None
    if isinstance(dataset.source, FolderSource) and Path(dataset.source.path).expanduser().is_dir():
        parts = splits_by_name(folder.name for folder in Path(dataset.source.path).expanduser().iterdir())
        # Folds of data that bring their test part hold out validation images.
        return gives_validation(parts.values()) or bool(dataset.split.folds and {TEST, VALIDATION} & {*parts.values()})
    return True


def misfits(experiment: Experiment) -> Iterator[Problem]:
    """Yield what is wrong with each strategy on its own network, which is made without memory."""
    from transferlab.core.strategies import checks  # it loads torch, which a mistyped key need not wait for

    for name, strategy in experiment.strategies.items():
        try:
            checks.check(strategy)
        except FieldProblems as error:
            for problem in error.problems:
                yield dataclasses.replace(problem, field=f"strategies.{name}.{problem.field}")
