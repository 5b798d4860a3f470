"""The trials of a strategy that earlier runs finished, so that a run need not train them again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import pandas as pd
from kedro.io import AbstractDataset, DatasetError, Version

from transferlab.core.errors import MendableError
from transferlab.datasets.checkpoints import TrialsDataset
from transferlab.datasets.document import JSONDataset
from transferlab.datasets.table import TableDataset

if TYPE_CHECKING:
    from transferlab.core.models.checkpoint import Checkpoint

logger = logging.getLogger(__name__)
TABLES = ("history", "steps", "cost")
Fingerprints = Mapping[int, Mapping[str, Any]]  # by trial


@dataclass(frozen=True)
class Reusable:
    """Trials of one version.

    Attributes:
        version: of the run that saved them.
        checkpoints: by trial.
        tables: `history`, `steps` and `cost`, the rows of these trials alone.
    """

    version: str
    checkpoints: dict[int, Checkpoint]
    tables: dict[str, pd.DataFrame]


@dataclass(frozen=True)
class FinishedTrials:
    """All versions of what the training of a strategy saves."""

    checkpoints: TrialsDataset
    fingerprints: JSONDataset
    tables: dict[str, TableDataset]

    def matching(self, wanted: Fingerprints) -> Reusable | None:
        """Return trials with these fingerprints, of the newest version that has any.

        A version that has lost a file, or has a damaged one, is passed over with a warning.
        """
        for version, found in self._fingerprints():
            same = [trial for trial, fingerprint in wanted.items() if found.get(trial) == fingerprint]
            try:
                if same and (reusable := self._read(version, same)):
                    return reusable
            except (DatasetError, MendableError, ValueError, KeyError, OSError) as error:
                logger.warning("what was trained at %s cannot be reused: %s", version, error)
        return None

    def newest(self) -> tuple[str, Fingerprints] | None:
        """Return the newest version and its fingerprints."""
        return next(self._fingerprints(), None)

    def _fingerprints(self) -> Iterator[tuple[str, Fingerprints]]:
        """Yield the versions, newest first. What is saved last is there if all is."""
        for version in sorted(self.fingerprints.version_folders(), reverse=True):
            path = self.fingerprints.path_of(version)
            try:
                yield version, {int(trial): found for trial, found in self.fingerprints.read(path).items()}
            except (ValueError, OSError) as error:
                logger.warning("what was trained at %s cannot be reused: %s: %s", version, path, error)

    def _read(self, version: str, trials: list[int]) -> Reusable | None:
        stored = self.checkpoints.of(version)
        there = [trial for trial in trials if trial in set(stored)]
        tables = {name: table.read(table.path_of(version)) for name, table in self.tables.items()}
        tables = {name: table[table["trial"].isin(there)] for name, table in tables.items()}
        return Reusable(version, {trial: stored[trial] for trial in there}, tables) if there else None


class FinishedTrialsDataset(AbstractDataset[None, FinishedTrials]):
    """Loads as all versions of what a training node saves. An input only."""

    def __init__(
        self,
        *,
        checkpoints: dict[str, Any],
        fingerprints: dict[str, Any],
        history: dict[str, Any],
        steps: dict[str, Any],
        cost: dict[str, Any],
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Take the places of the datasets, each as `{filepath: ...}`."""
        any_version = Version(None, None)
        self._finished = FinishedTrials(
            TrialsDataset(**checkpoints, version=any_version),
            JSONDataset(**fingerprints, content="fingerprints", version=any_version),
            {
                name: TableDataset(**place, content=name, version=any_version)
                for name, place in zip(TABLES, (history, steps, cost), strict=True)
            },
        )
        self.metadata = metadata

    def load(self) -> FinishedTrials:
        """Return what is finished, not yet read."""
        return self._finished

    def save(self, data: None) -> NoReturn:
        """Refuse: it is saved by the datasets that it reads.

        Raises:
            DatasetError: always.
        """
        raise DatasetError("finished trials are saved as checkpoints and tables")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"checkpoints": str(self._finished.checkpoints)}
