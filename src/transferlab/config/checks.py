"""Checks between blocks of an experiment's parameters that are each right by themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from transferlab.config.schema import RESERVED, Dataset, Experiment
from transferlab.core.data.listing.label_table import LabelTable
from transferlab.core.data.sources import FolderSource
from transferlab.core.data.split.names import gives_validation, splits_by_name
from transferlab.core.strategies import checks
from transferlab.core.validation import FieldProblems, Problem, did_you_mean


def conflicts(experiment: Experiment) -> Iterator[Problem]:
    """Yield what is wrong between blocks that are each right."""
    can_validate = _can_validate(experiment.dataset)
    for name, strategy in experiment.strategies.items():
        if name in RESERVED:
            yield Problem(f"strategies.{name}", name, "is taken: the report's own namespace; choose another name")
        if not name.isidentifier():
            yield Problem(f"strategies.{name}", name, "must be a plain name (letters, digits, _): it names a namespace")
        if strategy.decides and experiment.training.test_curve:
            yield Problem(
                "training.test_curve",
                True,
                f"but strategies.{name} decides by validation figures; set it to "
                "false, or give that strategy `select: last` and no plateau schedule",
            )
        if strategy.decides and not can_validate:
            yield Problem(
                "dataset.split.validation",
                experiment.dataset.split.validation,
                f"but strategies.{name} decides by a validation split (select: best or a plateau schedule); "
                "give it a part of the images, e.g. 0.15",
            )
    for number, row in enumerate(experiment.report.published):
        if row.strategy not in experiment.strategies:
            yield Problem(
                f"report.published.{number}.strategy",
                row.strategy,
                "is no strategy of this experiment" + did_you_mean(row.strategy, experiment.strategies),
            )


def _can_validate(dataset: Dataset) -> bool:
    """Whether there will be a validation split, as far as it can be known before the images are there."""
    if dataset.split.validation > 0:
        return True
    if isinstance(dataset.layout, LabelTable):
        return dataset.layout.split is not None
    if isinstance(dataset.source, FolderSource) and Path(dataset.source.path).expanduser().is_dir():
        parts = splits_by_name(folder.name for folder in Path(dataset.source.path).expanduser().iterdir())
        return gives_validation(parts.values())
    return True


def misfits(experiment: Experiment) -> Iterator[Problem]:
    """Yield what is wrong with each strategy on its own network."""
    for name, strategy in experiment.strategies.items():
        try:
            checks.check(strategy)
        except FieldProblems as error:
            for problem in error.problems:
                yield dataclasses.replace(problem, field=f"strategies.{name}.{problem.field}")
