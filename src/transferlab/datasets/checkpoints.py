"""Checkpoints of a strategy: one safetensors file, or a folder with one per trial."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kedro_datasets._typing import JSONPreview

from transferlab.core.atomic import PREFIX, sync_folder, whole_file
from transferlab.core.checkpoint import Checkpoint
from transferlab.datasets.whole import WholeDataset, WholeFile


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
        return iter(sorted(int(path.stem.removeprefix("trial_")) for path in self.folder.glob("trial_*.safetensors")))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class TrialsDataset(WholeDataset[Mapping[int, Checkpoint], StoredTrials]):
    """A folder with one checkpoint per trial."""

    def save(self, data: Mapping[int, Checkpoint]) -> None:
        """Write all trials, then rename the folder into place."""
        target = Path(self._get_save_path())
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=target.parent, ignore_cleanup_errors=True) as temporary:
            folder = Path(temporary) / target.name
            for trial, checkpoint in data.items():
                with whole_file(folder / _file(trial)) as file:
                    file.write(checkpoint.to_bytes())
            folder.replace(target)
        sync_folder(target.parent)

    def load(self) -> StoredTrials:
        """The checkpoints, not yet read."""
        return StoredTrials(self.load_path, self.resolve_load_version())


def _file(trial: int) -> str:
    return f"trial_{trial}.safetensors"
