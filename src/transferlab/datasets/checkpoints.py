"""Checkpoints of a strategy: one safetensors file, or a folder with one per trial."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kedro.io import DatasetError
from kedro_datasets._typing import JSONPreview

from transferlab.core.files.folders import whole_folder
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.datasets.atomic import WholeDataset, WholeFile

LIST = "trials.json"


class CheckpointDataset(WholeFile[Checkpoint, Checkpoint]):
    """One checkpoint."""

    def write(self, data: Checkpoint, file: BinaryIO) -> None:
        """Write safetensors with a JSON header."""
        file.write(data.to_bytes())

    def read(self, path: Path) -> Checkpoint:
        """Read it; no code runs."""
        return Checkpoint.read(path)

    def preview(self) -> JSONPreview:
        """The header, for Kedro-Viz."""
        return JSONPreview(json.dumps(self.load().header))


@dataclass(frozen=True)
class StoredTrials(Mapping[int, Checkpoint]):
    """Checkpoints by trial, each read when asked for.

    Attributes:
        folder: of the version.
        version: under which they were saved; None where the dataset is not versioned.
    """

    folder: Path
    version: str | None

    def __getitem__(self, trial: int) -> Checkpoint:
        return Checkpoint.read(self.folder / _file(trial))

    def __iter__(self) -> Iterator[int]:
        if (self.folder / LIST).is_file():
            return iter(json.loads((self.folder / LIST).read_text(encoding="utf-8")))
        return iter(sorted(int(path.stem.removeprefix("trial_")) for path in self.folder.glob("trial_*.safetensors")))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class TrialsDataset(WholeDataset[Mapping[int, Checkpoint], StoredTrials]):
    """A folder with one checkpoint per trial, and a list of them, so that a lost one is missed."""

    def save(self, data: Mapping[int, Checkpoint]) -> None:
        """Write all trials, then rename the folder into place.

        Raises:
            DatasetError: it is there already: a folder cannot be replaced in one step.
        """
        with self.claimed() as target:
            if target.exists():
                raise DatasetError(f"{target} is there already; remove it, or make the dataset versioned")
            with whole_folder(target.parent, lambda: target.name) as folder:
                for trial, checkpoint in data.items():
                    (folder / _file(trial)).write_bytes(checkpoint.to_bytes())
                (folder / LIST).write_text(json.dumps(sorted(data)), encoding="utf-8")

    def load(self) -> StoredTrials:
        """The checkpoints, not yet read."""
        return StoredTrials(self.load_path, self.resolve_load_version())


def _file(trial: int) -> str:
    return f"trial_{trial}.safetensors"
