"""The base of this project's datasets: written whole or not at all, and a session loads what it saved itself."""

from __future__ import annotations

from abc import abstractmethod
from glob import iglob
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar

from kedro.io import AbstractVersionedDataset, DatasetError, Version
from kedro.io.core import VersionNotFoundError

from transferlab.core.atomic import whole_file
from transferlab.core.whole_folder import sweep

I = TypeVar("I")  # noqa: E741 - Kedro's own names: the type saved and the type loaded
O = TypeVar("O")  # noqa: E741
_CURE = "run the node that makes it, e.g. with --only-missing-outputs"


class WholeDataset(AbstractVersionedDataset[I, O]):
    """A local, optionally versioned file or folder.

    Kedro's own versioned datasets leave a partial file behind a kill, which becomes the latest version; and of two
    overlapping runs one can load what the other saved. Neither can happen here.
    """

    def __init__(
        self, *, filepath: str, version: Version | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(PurePosixPath(filepath), version, exists_function=_exists, glob_function=_glob)
        self.metadata = metadata

    def resolve_load_version(self) -> str | None:
        """The version asked for, else the one this session has saved, else the latest."""
        version = self._version
        if version and not version.load and version.save and _exists(str(self._get_versioned_path(version.save))):
            return str(version.save)
        return super().resolve_load_version()

    @property
    def load_path(self) -> Path:
        """Where the version to load is.

        Raises:
            DatasetError: it is not there.
        """
        try:
            path = Path(self._get_load_path())
        except VersionNotFoundError:
            raise DatasetError(f"no version of {self._filepath} was ever saved: {_CURE}") from None
        if not path.exists():
            raise DatasetError(f"{path} does not exist: {_CURE}")
        return path

    def sweep(self) -> None:
        """Remove what killed runs have left unfinished beside the versions; what a running one is writing stays."""
        path = Path(self._filepath)
        for folder in [path.parent, *path.glob("*/")] if self._version else [path.parent]:
            sweep(folder)

    def _exists(self) -> bool:
        return Path(self._get_load_path()).exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}


class WholeFile(WholeDataset[I, O]):
    """One file; a subclass says how it is written and read."""

    @abstractmethod
    def write(self, data: I, file: BinaryIO) -> None:
        """Write the data as bytes."""

    @abstractmethod
    def read(self, path: Path) -> O:
        """Read a file."""

    def save(self, data: I) -> None:
        """Write the file whole or not at all."""
        self.sweep()
        with whole_file(Path(self._get_save_path())) as file:
            self.write(data, file)

    def load(self) -> O:
        """Read the version to load."""
        return self.read(self.load_path)


def _glob(pattern: str) -> list[str]:
    return list(iglob(pattern))  # noqa: PTH207 - the pattern is an absolute path


def _exists(path: str) -> bool:
    return Path(path).exists()
