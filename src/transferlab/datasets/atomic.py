"""The base of this project's datasets: written whole or not at all, and a session loads what it saved itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import iglob
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar

from kedro.io import AbstractVersionedDataset, DatasetError, Version
from kedro.io.core import VersionNotFoundError

from transferlab.core.errors import MendableError
from transferlab.core.files.atomic import whole_file
from transferlab.core.files.folders import sweep
from transferlab.core.files.remote import is_url

I = TypeVar("I")  # noqa: E741 - Kedro's own names: the type saved and the type loaded
O = TypeVar("O")  # noqa: E741
_CURE = "run the node that makes it"
_CURE_MISSING = f"{_CURE}, e.g. with --only-missing-outputs"


class DamagedError(DatasetError, MendableError):
    """A file that does not hold what was saved."""


class UrlError(DatasetError, MendableError):
    """A URL where this project needs a folder of this machine."""


def local(filepath: str) -> str:
    """Return the path of a dataset.

    Raises:
        UrlError: it is a URL: renames, locks and memory maps need a local disk.
    """
    if is_url(filepath):
        raise UrlError(
            f"filepath: {filepath}: this project's datasets lie on a local disk, which renames, locks and memory maps "
            "need. Give a path, and copy finished versions with `kedro transferlab publish URL` (or report.publish)"
        )
    return filepath


class WholeDataset(AbstractVersionedDataset[I, O]):
    """A local, optionally versioned file or folder.

    Kedro's own versioned datasets leave a partial file behind a kill, which becomes the latest version; and of two
    overlapping runs one can load what the other saved. Neither can happen here.
    """

    def __init__(
        self, *, filepath: str, version: Version | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(PurePosixPath(local(filepath)), version, exists_function=_exists, glob_function=_glob)
        self.metadata = metadata

    def resolve_load_version(self) -> str | None:
        """Return the version asked for, else the one this session has saved, else the latest."""
        version = self._version
        if version and not version.load and version.save and _exists(str(self._get_versioned_path(version.save))):
            return str(version.save)
        return super().resolve_load_version()

    @property
    def load_path(self) -> Path:
        """Return where the version to load is.

        Raises:
            DatasetError: it is not there.
        """
        try:
            path = Path(self._get_load_path())
        except VersionNotFoundError:
            raise DatasetError(f"no version of {self._filepath} was ever saved: {_CURE_MISSING}") from None
        if not path.exists():
            raise DatasetError(f"{path} does not exist: {_CURE_MISSING}")
        return path

    @contextmanager
    def claimed(self) -> Iterator[Path]:
        """Give the place to save at, for this process alone: of two runs that have one version, the second is refused.

        Raises:
            DatasetError: the version is saved, or being saved.
        """
        target = Path(self._get_save_path())
        if not self._version:
            yield target
            return
        try:
            target.parent.mkdir(parents=True)
        except FileExistsError:
            raise DatasetError(f"{target.parent} belongs to another run of the same millisecond: run again") from None
        try:
            yield target
        except BaseException:
            with suppress(OSError):
                target.parent.rmdir()
            raise

    def path_of(self, version: str) -> Path:
        """Return where a version is, or would be."""
        return Path(self._get_versioned_path(version))

    def version_folders(self) -> dict[str, Path]:
        """Return the folder of every version, oldest first; one that was never finished has a folder too."""
        found = sorted(Path(self._filepath).glob("[!.]*")) if self._version else []
        return {folder.name: folder for folder in found if folder.is_dir()}

    def sweep(self) -> None:
        """Remove what killed runs have left unfinished, saying so; what a running one is writing stays."""
        path = Path(self._filepath)
        sweep(path.parent)
        if self._version:
            sweep(path)
            for folder in self.version_folders().values():
                if sweep(folder):
                    with suppress(OSError):  # there may be more in it
                        folder.rmdir()

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
        with self.claimed() as target, whole_file(target) as file:
            self.write(data, file)

    def load(self) -> O:
        """Read the version to load.

        Raises:
            DatasetError: it is not there.
            DamagedError: it cannot be read as what it is.
        """
        path = self.load_path
        try:
            return self.read(path)
        except (ValueError, KeyError, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise  # the system's, not the content's
            raise DamagedError(f"{path} is damaged ({error}): restore a copy of it, or {_CURE}") from error


def _glob(pattern: str) -> list[str]:
    return list(iglob(pattern))  # noqa: PTH207 - the pattern is an absolute path


def _exists(path: str) -> bool:
    return Path(path).exists()
