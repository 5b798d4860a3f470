"""Checkpoints of a strategy: one safetensors file, or a folder with one per trial."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from kedro.io import DatasetError, Version
from kedro_datasets._typing import JSONPreview

from transferlab.core.files.atomic import link_same
from transferlab.core.files.folders import whole_folder
from transferlab.datasets.atomic import I, O, WholeDataset, WholeFile

# What loads torch is imported where it is needed: every catalog has these datasets, and most commands need no weights.
if TYPE_CHECKING:
    from transferlab.core.models.checkpoint import Checkpoint

LIST = "trials.json"
_NUMBER = re.compile(r"trial_(\d+)\.safetensors")


class _KeptOnce(WholeDataset[I, O]):
    """Weights that versions and strategies have in common are on disk once: as several names of one file."""

    @contextmanager
    def claimed(self) -> Iterator[Path]:
        """Give the place to save at, and then look for files that are there already."""
        with super().claimed() as target:
            yield target
            if self._version:
                name = self._filepath.name
                every = list(Path(self._filepath.parent.parent).glob(f"[!.]*/{name}/[!.]*/{name}"))
                for file in [target] if target.is_file() else sorted(target.glob("*.safetensors")):
                    link_same(file, [other / file.relative_to(target) for other in every])


class CheckpointDataset(_KeptOnce["Checkpoint", "Checkpoint"], WholeFile["Checkpoint", "Checkpoint"]):
    """One checkpoint: a strategy's network before training."""

    def __init__(
        self,
        *,
        filepath: str,
        strategy: str | None = None,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath=filepath, version=version, metadata=metadata)
        self._remedy = _remedy(strategy, "build_model")

    def write(self, data: Checkpoint, file: BinaryIO) -> None:
        """Write safetensors with a JSON header."""
        file.write(data.to_bytes())

    def read(self, path: Path) -> Checkpoint:
        """Read a checkpoint; no code runs."""
        from transferlab.core.models.checkpoint import Checkpoint

        return Checkpoint.read(path, self._remedy)

    def preview(self) -> JSONPreview:
        """Return the header, for Kedro-Viz."""
        return JSONPreview(json.dumps(self.load().header.to_json()))


@dataclass(frozen=True)
class StoredTrials(Mapping[int, "Checkpoint"]):
    """Checkpoints by trial, each read when asked for.

    Attributes:
        folder: of the version.
        version: under which they were saved; None where the dataset is not versioned.
        strategy: whose trials they must be; None where any will do.
    """

    folder: Path
    version: str | None
    strategy: str | None = None

    def __getitem__(self, trial: int) -> Checkpoint:
        """Read a trial's checkpoint.

        Raises:
            CheckpointError: it is lost or damaged, or is that of another trial or strategy.
        """
        from transferlab.core.models.checkpoint import Checkpoint

        checkpoint = Checkpoint.read(self.file(trial), self._remedy)
        header = checkpoint.header
        if header.trial != trial:
            raise checkpoint.unusable(f"it is that of trial {header.trial}, not of trial {trial}")
        if self.strategy is not None and header.strategy != self.strategy:
            reason = f"it is that of the strategy '{header.strategy}', not of '{self.strategy}'"
            raise checkpoint.unusable(reason)
        return checkpoint

    def file(self, trial: int) -> Path:
        """Return where a trial's checkpoint is."""
        return self.folder / _file(trial)

    def files(self, trial: int) -> list[Path]:
        """Return the files that a trial needs: its own, and the one that trials share if there is one."""
        from transferlab.core.models.checkpoint import SHARED

        return [file for file in (self.file(trial), self.folder / SHARED) if file.is_file()]

    def __iter__(self) -> Iterator[int]:
        """Give the trials in order: those of the list, and of a folder without one, those that are there.

        Raises:
            DatasetError: the list is damaged.
        """
        listed = self.folder / LIST
        if not listed.is_file():
            numbers = (_NUMBER.fullmatch(file.name) for file in self.folder.glob("trial_*.safetensors"))
            return iter(sorted(int(number[1]) for number in numbers if number))
        try:
            trials = json.loads(listed.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{listed} is damaged ({error}): {self._remedy}") from None
        if (
            not isinstance(trials, list)
            or not all(type(trial) is int for trial in trials)
            or len({*trials}) < len(trials)
        ):
            raise DatasetError(f"{listed} must hold the list of the trials' numbers, each once: {self._remedy}")
        return iter(trials)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def _remedy(self) -> str:
        return _remedy(self.strategy, "train")


class TrialsDataset(_KeptOnce[Mapping[int, "Checkpoint"], StoredTrials]):
    """A folder with one checkpoint per trial, and a list of them, so that a lost one is missed.

    Weights that are the same in all trials, such as those of frozen layers, lie there once if they are most of them.
    """

    def __init__(
        self,
        *,
        filepath: str,
        strategy: str | None = None,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath=filepath, version=version, metadata=metadata)
        self._strategy = strategy

    def save(self, data: Mapping[int, Checkpoint]) -> None:
        """Write all trials, then rename the folder into place.

        Raises:
            DatasetError: it is there already: a folder cannot be replaced in one step.
        """
        from safetensors.torch import save

        from transferlab.core.models.checkpoint import SHARED, shared_tensors

        with self.claimed() as target:
            if target.exists():
                raise DatasetError(f"{target} is there already; remove it, or make the dataset versioned")
            with whole_folder(target.parent, lambda: target.name) as folder:
                shared = shared_tensors(list(data.values()))
                if shared:
                    (folder / SHARED).write_bytes(save(shared))
                for trial, checkpoint in data.items():
                    (folder / _file(trial)).write_bytes(checkpoint.to_bytes(shared))
                (folder / LIST).write_text(json.dumps(sorted(data)), encoding="utf-8")

    def load(self) -> StoredTrials:
        """Return the checkpoints, not yet read."""
        return StoredTrials(self.load_path, self.resolve_load_version(), self._strategy)

    def of(self, version: str) -> StoredTrials:
        """Return the checkpoints of a version, not yet read."""
        return StoredTrials(self.path_of(version), version, self._strategy)


def _file(trial: int) -> str:
    return f"trial_{trial}.safetensors"


def _remedy(strategy: str | None, node: str) -> str:
    """Say what makes a lost or damaged file of a strategy again."""
    again = f"run `kedro run --nodes={strategy}.{node}`" if strategy else "run the node that makes it again"
    return f"restore a copy of it, or {again}"
