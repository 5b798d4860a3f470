"""What a source gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Acquired:
    """Images that are on this machine now.

    Attributes:
        path: a verified archive file, or a folder.
        subfolder: the folder inside that holds the data; None for its root.
        note: what a reader of the report must know about these very files.
    """

    path: Path
    subfolder: str | None = None
    note: str = ""
