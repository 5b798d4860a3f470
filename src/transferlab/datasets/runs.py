"""The runs that have not ended: those under way, and those that failed, were stopped or killed."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from kedro.io import DatasetError

from transferlab.core.files.atomic import lock
from transferlab.datasets.folders import FolderDataset


@dataclass
class Run:
    """A run under way.

    Attributes:
        file: has the run's id as its name.
        held: the file's lock, which ends with the process.
    """

    file: Path
    held: ExitStack = field(default_factory=ExitStack)

    def end(self, is_whole: bool) -> None:
        """Release the file, and remove it if the run did everything it was asked to (`is_whole`)."""
        if is_whole:
            self.file.unlink(missing_ok=True)
        self.held.close()


class RunsDataset(FolderDataset):
    """A folder with one empty file for each run that has not ended."""

    def begin(self, run_id: str) -> Run:
        """Note that a run is under way.

        Raises:
            DatasetError: another has the same id.
        """
        run = Run(self.load() / run_id)
        try:
            run.file.touch(exist_ok=False)
        except FileExistsError:
            raise DatasetError(
                f"another run began in the same millisecond ({run.file} is its mark): run again"
            ) from None
        run.held.enter_context(lock(run.file, wait=True))
        return run

    def not_ended(self) -> dict[str, bool]:
        """Return the ids of the runs that have not ended, and whether each is under way (yes without locks)."""
        files = [file for file in sorted(self._filepath.glob("[!.]*")) if file.is_file()]
        return {file.name: _is_held(file) for file in files}

    def forget(self, run_id: str) -> None:
        """Forget a run of which no output is left."""
        (self._filepath / run_id).unlink(missing_ok=True)


def _is_held(file: Path) -> bool:
    try:
        with lock(file) as is_locked_here:
            return not is_locked_here
    except BlockingIOError:
        return True
    except FileNotFoundError:  # it has just ended
        return False
