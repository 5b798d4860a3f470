"""Data sets that torchvision reads: every image becomes a file in a folder of its class.

Where torchvision reads files, they are linked as they are; where it reads an array, images become PNGs (lossless).
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transferlab.core.data.archives.extract import extract
from transferlab.core.data.download import Downloads, SourceError
from transferlab.core.data.sources.base import Acquired
from transferlab.core.files.folders import whole_folder
from transferlab.core.files.paths import is_plain_name
from transferlab.core.validation import check

# Of the archives at torchvision's addresses; torchvision itself knows only their MD5.
ARCHIVE_SHA256 = {
    "CIFAR10": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    "CIFAR100": "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
}
# Our names of parts, and what torchvision may call them.
SPLITS = {"train": ("train", "trainval"), "val": ("val", "valid"), "test": ("test",)}


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
    dataset: Literal[
        "CIFAR10", "CIFAR100", "Country211", "DTD", "EuroSAT", "FashionMNIST", "FGVCAircraft", "Flowers102", "Food101",
        "GTSRB", "Imagenette", "KMNIST", "MNIST", "OxfordIIITPet", "RenderedSST2", "SEMEION", "STL10", "SUN397", "SVHN",
        "USPS",
    ]  # fmt: skip
    copies: Copies | None = None

    def acquire(self, downloads: Downloads) -> Acquired:
        """Return the copies if a mirror has them, else a folder below the downloads with the images that it reads.

        That is `train/<class>/<number>.png` beside `val` and `test`, where the data set has such parts.

        Raises:
            SourceError: the data set is nowhere to be had, or its content is another.
            ExtractError: an archive cannot be unpacked.
        """
        if self.copies is not None:
            archive = downloads.fetch_from_mirror(self.copies.filename, [self.copies.sha256])
            if archive is not None:
                return Acquired(archive, self.copies.subfolder, self.copies.note)
        is_array = self.dataset in ARCHIVE_SHA256
        folder = downloads.folder / f"{self.dataset}-{'png' if is_array else 'images'}"
        if not folder.is_dir():
            with _files_of(self.dataset, downloads) as root, whole_folder(folder.parent, lambda: folder.name) as new:
                _export(self.dataset, root, new)
        return Acquired(folder)


def _kind(dataset: str) -> Any:
    """Return torchvision's class of a data set."""
    import torchvision  # it loads torch's compiler, which config that names a data set need not wait for

    return getattr(torchvision.datasets, dataset)


@contextmanager
def _files_of(dataset: str, downloads: Downloads) -> Iterator[Path]:
    """Give the folder with torchvision's files: unpacked from the archive that is known, else where it downloads to."""
    if dataset not in ARCHIVE_SHA256:
        yield downloads.folder / f"{dataset}-torchvision"
        return
    kind = _kind(dataset)
    archive = downloads.fetch(kind.url, [ARCHIVE_SHA256[dataset]], kind.filename)
    with tempfile.TemporaryDirectory() as unpacked:
        yield extract(archive, Path(unpacked))


def _export(dataset: str, root: Path, folder: Path) -> None:
    """Write every image that torchvision reads from `root` below `folder`, numbered in torchvision's order.

    Raises:
        SourceError: torchvision cannot get its files.
    """
    root.mkdir(parents=True, exist_ok=True)
    parts = list(_parts(dataset, root))
    for part, images in parts:
        names = getattr(images, "classes", None)
        for number, (image, label) in enumerate(images):
            name = str(names[label]).strip("/").replace("/", "_") if names else f"{label:03d}"
            target = folder / part / name
            target.mkdir(parents=True, exist_ok=True)
            if isinstance(image, Path):
                _link(image, target / f"{number:05d}{image.suffix}")
            else:
                image.save(target / f"{number:05d}.png")


def _parts(dataset: str, root: Path) -> Iterator[tuple[str, Any]]:
    """Yield each part of a data set as torchvision has it, by what its class can be asked for."""
    kind = _kind(dataset)
    known = inspect.signature(kind).parameters
    options: dict[str, Any] = {"loader": Path} if "loader" in known else {}
    asked: list[tuple[str, dict[str, Any]]]
    if "train" in known:
        asked = [("train", {"train": True}), ("test", {"train": False})]
    elif "split" in known:
        asked = [(part, {"split": split}) for part, splits in SPLITS.items() for split in splits]
    else:
        asked = [("", {})]
    found: set[str] = set()
    for part, which in asked:
        if part in found:
            continue
        try:
            images = kind(root, download=dataset not in ARCHIVE_SHA256, **which, **options)
        except ValueError as error:
            if "Unknown value" not in str(error):
                raise
            continue
        except (OSError, RuntimeError, ImportError) as error:
            raise SourceError(
                f"dataset.source: torchvision cannot get {dataset} ({error}). On a machine without a network, put its "
                f"files where torchvision looks for them: below {root.absolute()}"
            ) from error
        found.add(part)
        yield part, images


def _link(file: Path, target: Path) -> None:
    """Give a file another name, or copy it where the file system cannot."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)
