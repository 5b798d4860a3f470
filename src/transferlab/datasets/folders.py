"""Folders that nodes keep files in by themselves: downloads, decoded images, cached features."""

from __future__ import annotations

import logging
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from kedro.io import AbstractDataset, DatasetError

from transferlab.core.files.atomic import lock
from transferlab.core.files.folders import sweep
from transferlab.datasets.atomic import local

logger = logging.getLogger(__name__)


class FolderDataset(AbstractDataset[None, Path]):
    """Loads as the path of a folder, made if it is not there. An input only: its users care for what is in it."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(local(filepath))
        self.metadata = metadata

    @property
    def path(self) -> Path:
        """The folder, which may not be there yet."""
        return self._filepath

    def load(self) -> Path:
        """Return the folder, without what killed processes left unfinished in it."""
        self._filepath.mkdir(parents=True, exist_ok=True)
        sweep(self._filepath)
        return self._filepath

    def save(self, data: None) -> NoReturn:
        """Refuse: a folder is an input.

        Raises:
            DatasetError: always.
        """
        raise DatasetError(f"{self._filepath} is a folder that nodes write into; it cannot be saved as a whole")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


_STATE = re.compile(r"trial_(\d+)\.pt")


class Finished(NamedTuple):
    """What is finished of a strategy's training: a trial's number, and its epochs."""

    trial: int
    epoch: int


class UnfinishedTrials(FolderDataset):
    """The states of a strategy's unfinished trials; gone when the trained trials are saved (`confirms` of the node).

    While a run trains, no other may: the folder is locked, and a killed run's lock is released by the system.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        self._held: ExitStack | None = None  # made when it is taken: ParallelRunner pickles the dataset before

    def load(self) -> Path:
        """Return the folder, locked.

        Raises:
            DatasetError: another run is training this strategy.
        """
        folder = super().load()
        if self._held:
            return folder  # a node that begins the trials of all strategies has locked it for this run
        held = ExitStack()
        (folder / ".lock").touch()
        try:
            is_locked = held.enter_context(lock(folder / ".lock"))
        except BlockingIOError as error:
            raise DatasetError(f"{folder}: another run is training this strategy; wait for it, or stop it") from error
        if not is_locked:
            logger.warning("%s: its file system has no locks; see to it that no other run trains this strategy", folder)
        self._held = held
        return folder

    def progress(self) -> Finished | None:
        """Return the last epoch of the last trial that has a state."""
        from transferlab.core.training.state import finished_epochs  # it loads torch, which --help need not

        states = self._states()
        return Finished(max(states), finished_epochs(states[max(states)])) if states else None

    def confirm(self) -> None:
        """Remove the states: what they led to is saved."""
        for state in self._states().values():
            state.unlink()
        if self._held:
            self._held.close()
        self._held = None

    def _states(self) -> dict[int, Path]:
        """Return the states by trial; what else lies there, such as a copy of one, is nobody's."""
        files = {file: _STATE.fullmatch(file.name) for file in self._filepath.glob("trial_*.pt") if file.is_file()}
        return {int(match[1]): file for file, match in files.items() if match}
