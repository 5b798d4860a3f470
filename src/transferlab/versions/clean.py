"""Names what an experiment keeps on disk, by what it would take to make it again, and removes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from transferlab.console.errors import UserError
from transferlab.core.files.folders import remove
from transferlab.versions.catalogue import Versions, size_on_disk


@dataclass(frozen=True)
class Part:
    """What can be removed at once.

    Attributes:
        option: of the command, without dashes.
        what: in words.
        folders: those that are there.
    """

    option: str
    what: str
    folders: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Number of bytes on disk."""
        return sum(map(size_on_disk, self.folders))


def parts(versions: Versions, data: Path) -> list[Part]:
    """Return the parts of an experiment. The last is all that it alone has in `data`; downloads are shared."""
    everything = [layer / versions.experiment for layer in data.glob("[!.]*")]
    return [
        Part("stores", "decoded images", _there(versions.image_folder)),
        Part("caches", "cached outputs of frozen layers", _there(versions.feature_cache)),
        Part("all", "everything, with all versions", tuple(sorted(folder for folder in everything if folder.is_dir()))),
    ]


def remove_parts(versions: Versions, leaving: Iterable[Part]) -> None:
    """Remove parts of an experiment.

    Raises:
        UserError: a run is under way, which may need them.
    """
    if running := [run for run, is_under_way in versions.not_ended.items() if is_under_way]:
        raise UserError(
            f"the run {running[0]} is under way, so nothing was removed: wait until it has ended, or stop it"
        )
    for part in leaving:
        for folder in part.folders:
            remove(folder)


def _there(folder: Path | None) -> tuple[Path, ...]:
    return (folder,) if folder and folder.is_dir() else ()
