"""Folders that nodes keep files in by themselves: downloads, decoded images, cached features."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError


class FolderDataset(AbstractDataset[None, Path]):
    """Loads as the path of a folder, made if it is not there. An input only: its users care for what is in it."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """The folder."""
        self._filepath.mkdir(parents=True, exist_ok=True)
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
