"""Data sets that torchvision reads: every image is written once as a PNG file (lossless) in a folder of its class."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transferlab.core.data.archives.extract import extract
from transferlab.core.data.download import Downloads
from transferlab.core.data.sources.base import Acquired
from transferlab.core.files.folders import whole_folder
from transferlab.core.files.paths import is_plain_name
from transferlab.core.validation import check

# Of the archives at torchvision's addresses; torchvision itself knows only their MD5.
ARCHIVE_SHA256 = {
    "CIFAR10": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    "CIFAR100": "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
}


@dataclass(frozen=True, kw_only=True)
class Copies:
    """An archive of the same images in class folders, which is taken where a mirror has it.

    Attributes:
        filename: of the archive in the mirror.
        sha256: its SHA-256 in hexadecimal.
        subfolder: the folder inside that holds the data; by default the archive's root.
        note: what the report says when the copies were used.
    """

    filename: str
    sha256: str
    subfolder: str | None = None
    note: str = ""

    def __post_init__(self) -> None:
        """Check the fields."""
        is_hash = re.fullmatch(r"[0-9a-f]{64}", self.sha256) is not None
        check(
            (is_hash, "sha256", self.sha256, "must be 64 lower-case hexadecimal digits"),
            (is_plain_name(self.filename), "filename", self.filename, "must be a plain file name"),
        )


@dataclass(frozen=True, kw_only=True)
class TorchvisionSource:
    """A data set of `torchvision.datasets`, read and checked (MD5 of every part) by torchvision's own class.

    Attributes:
        name: the kind of source.
        dataset: the name of the class.
        copies: an archive that a mirror may have instead; null for none.
    """

    name: Literal["torchvision"] = "torchvision"
    dataset: Literal["CIFAR10", "CIFAR100"]
    copies: Copies | None = None

    def acquire(self, downloads: Downloads) -> Acquired:
        """Return the copies if a mirror has them, else `train/<class>/<number>.png` and `test/...` below `downloads`.

        Raises:
            SourceError: torchvision's archive is nowhere to be had, or its content is another.
            ExtractError: the archive cannot be unpacked.
        """
        if self.copies is not None:
            archive = downloads.fetch_from_mirror(self.copies.filename, [self.copies.sha256])
            if archive is not None:
                return Acquired(archive, self.copies.subfolder, self.copies.note)
        name = f"{self.dataset}-png"
        if not (downloads.folder / name).is_dir():
            import torchvision  # it loads torch's compiler, which config that names this class need not wait for

            kind = getattr(torchvision.datasets, self.dataset)
            archive = downloads.fetch(kind.url, [ARCHIVE_SHA256[self.dataset]], kind.filename)
            with whole_folder(downloads.folder, lambda: name) as folder:
                _export(self.dataset, archive, folder)
        return Acquired(downloads.folder / name)


def _export(dataset: str, archive: Path, folder: Path) -> None:
    """Write every image of torchvision's `archive` below `folder`, numbered in torchvision's order."""
    import torchvision

    with tempfile.TemporaryDirectory() as unpacked:
        root = extract(archive, Path(unpacked))
        for split in ("train", "test"):
            images = getattr(torchvision.datasets, dataset)(root, train=split == "train", download=False)
            targets = [folder / split / name for name in images.classes]
            for target in targets:
                target.mkdir(parents=True)
            for number, (image, label) in enumerate(images):
                image.save(targets[label] / f"{number:05d}.png")
