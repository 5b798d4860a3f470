"""What later predictions are calibrated on: one small file per strategy, beside its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from transferlab.datasets.atomic import WholeFile

if TYPE_CHECKING:
    from transferlab.core.calibration.reference import Reference


class ReferencesDataset(WholeFile[Mapping[int, "Reference"], dict[int, "Reference"]]):
    """References by trial; there may be none."""

    def write(self, data: Mapping[int, Reference], file: BinaryIO) -> None:
        """Write safetensors with a JSON header."""
        from transferlab.core.calibration.reference import to_bytes  # it loads torch, which a catalog need not

        file.write(to_bytes(data))

    def read(self, path: Path) -> dict[int, Reference]:
        """Read them; no code runs.

        Raises:
            ValueError: it is no such file, or is damaged.
        """
        from transferlab.core.calibration.reference import from_file

        return from_file(str(path))
