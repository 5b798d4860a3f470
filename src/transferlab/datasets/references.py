"""What later predictions are calibrated on: one small file per strategy, beside its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from transferlab.core.calibration.reference import Reference, from_file, to_bytes
from transferlab.datasets.atomic import WholeFile


class ReferencesDataset(WholeFile[Mapping[int, Reference], dict[int, Reference]]):
    """References by trial; there may be none."""

    def write(self, data: Mapping[int, Reference], file: BinaryIO) -> None:
        """Write safetensors with a JSON header."""
        file.write(to_bytes(data))

    def read(self, path: Path) -> dict[int, Reference]:
        """Read them; no code runs.

        Raises:
            ValueError: it is no such file, or is damaged.
        """
        return from_file(str(path))
