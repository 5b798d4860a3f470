"""Reuses the trials that an earlier run finished, if all that they depend on is the same."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.training.fingerprint import Fingerprint, differences, told
from transferlab.core.training.history import CostRow, HistoryRow, StepRow
from transferlab.core.training.spec import TrialResult
from transferlab.core.training.state import state_path
from transferlab.datasets.finished import TABLES, FinishedTrials, Reusable

logger = logging.getLogger(__name__)


def finished(
    name: str, wanted: Mapping[int, Fingerprint], earlier: FinishedTrials, states: Path, fresh: bool
) -> Reusable | None:
    """Return the finished trials that need not be trained again, and say so; those with a state go on from it.

    Args:
        name: the strategy's.
        wanted: by trial, what its result will depend on.
        earlier: what earlier runs finished.
        states: the folder of the states of unfinished trials.
        fresh: reuse nothing, and remove the states.
    """
    begun = {trial for trial in wanted if state_path(states, trial).exists()}
    if fresh:
        for trial in begun:
            state_path(states, trial).unlink()
        return None
    if begun and any(one["number of trials together"] != 1 for one in wanted.values()):
        return None  # they share a state
    found = earlier.matching({trial: wanted[trial] for trial in wanted if trial not in begun})
    if found:
        part = "" if len(found.checkpoints) == len(wanted) else f"{len(found.checkpoints)} of {len(wanted)} trials "
        logger.info("%s: %sfinished at %s, reused", name, part, found.version)
    elif not begun and (newest := earlier.newest()):
        _say_why_not(name, wanted, *newest)
    return found


def _say_why_not(
    name: str, wanted: Mapping[int, Fingerprint], version: str, found: Mapping[int, Mapping[str, Any]]
) -> None:
    trial = next((trial for trial in wanted if trial in found), None)
    if trial is not None and (phrases := differences(found[trial], wanted[trial])):
        logger.info("%s: trained anew; what was finished at %s differs: %s", name, version, told(phrases))


def joined(
    found: Reusable | None, trained: Mapping[int, TrialResult]
) -> tuple[dict[int, Checkpoint], dict[str, pd.DataFrame]]:
    """Join what is reused and what was trained, in the order of the trials: checkpoints, and tables by name."""
    checkpoints = {number: result.checkpoint for number, result in trained.items()}
    results = trained.values()
    tables = {
        "history": _table(HistoryRow, [row for result in results for row in result.history]),
        "steps": _table(StepRow, [row for result in results for row in result.steps]),
        "cost": _table(CostRow, [result.cost for result in results]),
    }
    if found:
        checkpoints |= found.checkpoints
        tables = {name: _joined(found.tables[name], tables[name]) for name in TABLES}
    return dict(sorted(checkpoints.items())), tables


def _table(kind: type[HistoryRow | StepRow | CostRow], rows: Sequence[Any]) -> pd.DataFrame:
    """Return the rows as a table, which has its columns without any row too."""
    return pd.DataFrame(rows, columns=[field.name for field in fields(kind)])


def _joined(reused: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    if not len(new):
        return reused.reset_index(drop=True)
    if not len(reused):
        return new
    return pd.concat([reused, new]).sort_values("trial", kind="stable", ignore_index=True)


def stacked(rounds: Sequence[tuple[dict[int, Checkpoint], dict[str, pd.DataFrame], dict[str, Any]]]) -> tuple[Any, ...]:
    """Join what several rounds of a strategy's training made, into what its training saves at the end."""
    checkpoints = {number: each for found, _, _ in rounds for number, each in found.items()}
    tables = {name: pd.concat([table[name] for _, table, _ in rounds], ignore_index=True) for name in TABLES}
    done = {number: each for _, _, found in rounds for number, each in found.items()}
    return checkpoints, tables["history"], tables["steps"], tables["cost"], done
