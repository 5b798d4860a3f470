"""Where images come from: one small module for each kind of source."""

from __future__ import annotations

from transferlab.core.data.download import Downloads, SourceError
from transferlab.core.data.sources.address import AddressSource
from transferlab.core.data.sources.archive import ArchiveSource
from transferlab.core.data.sources.base import Acquired
from transferlab.core.data.sources.folder import FolderSource
from transferlab.core.data.sources.package import PackageSource
from transferlab.core.data.sources.torchvision_set import Copies, TorchvisionSource
from transferlab.core.data.sources.urls import UrlSource

Source = PackageSource | FolderSource | ArchiveSource | TorchvisionSource | UrlSource | AddressSource

__all__ = [
    "Acquired",
    "AddressSource",
    "ArchiveSource",
    "Copies",
    "FolderSource",
    "PackageSource",
    "Source",
    "SourceError",
    "TorchvisionSource",
    "UrlSource",
    "acquire",
]


def acquire(source: Source, downloads: Downloads) -> Acquired:
    """Fetch what `source` names: a verified archive file, or a folder.

    Args:
        source: the typed source.
        downloads: where downloaded archives are kept, and which mirrors come before the source's own URL.

    Raises:
        SourceError: it cannot be had; the message says what was tried and what to do.
    """
    return source.acquire(downloads)
