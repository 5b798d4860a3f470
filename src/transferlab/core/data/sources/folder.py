"""Images in a folder of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transferlab.core.data.download import Downloads, SourceError
from transferlab.core.data.sources.base import Acquired
from transferlab.core.validation import check


@dataclass(frozen=True, kw_only=True)
class FolderSource:
    """A local folder, used where it is.

    Attributes:
        name: the kind of source.
        path: the folder; a relative one is relative to where the command runs, `~` is the home folder.
    """

    name: Literal["folder"] = "folder"
    path: str

    def __post_init__(self) -> None:
        """Check the fields."""
        check((bool(self.path.strip()), "path", self.path, "must name a folder"))

    def acquire(self, downloads: Downloads) -> Acquired:
        """Return the folder itself.

        Raises:
            SourceError: there is no such folder.
        """
        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            what = "is a file, not a folder" if folder.is_file() else "does not exist"
            raise SourceError(f"dataset.source.path: {self.path!r} {what} (looked for at {folder.absolute()})")
        return Acquired(folder)
