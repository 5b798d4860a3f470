"""How a folder says which image is of which class: folders named after the classes, or a table of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from transferlab.core.data.listing.label_table import LabelTable, Threshold, list_table
from transferlab.core.data.listing.scan import Found, printable, walk
from transferlab.core.data.listing.table import (
    SPLIT_NAMES,
    LayoutError,
    as_left_out,
    as_listing,
    check_listing,
    with_held_out_as_test,
)
from transferlab.core.validation import check, did_you_mean

__all__ = ["ClassFolders", "LabelTable", "Layout", "LayoutError", "Threshold", "list_images"]


@dataclass(frozen=True, kw_only=True)
class ClassFolders:
    """`<class>/...`, or `train/<class>/...` beside `val` (valid, validation) and `test`; nested folders count too.

    Attributes:
        name: the kind of layout.
        names: readable class names for folders named otherwise, such as `{"n02086240": "Shih-Tzu"}`.
    """

    name: Literal["class_folders"] = "class_folders"
    names: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        given = list((self.names or {}).values())
        check((len(set(given)) == len(given), "names", self.names, "must give every folder a name of its own"))


Layout = ClassFolders | LabelTable


def list_images(root: Path, layout: Layout) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every file below `root`: candidate images in the listing, all others with a reason.

    Returns:
        The listing (path, class, split, group), sorted by path, and what is left out (path, status, reason), where
        the status is "ignored" for a file that is not part of the data, "quarantined" for an image that cannot be
        read and for a label without an image.

    Raises:
        LayoutError: a class without images, fewer than two classes, splits that disagree, a table that does not fit, a
            folder that cannot be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise LayoutError(f"{root} is no folder; name the folder that holds the data in dataset.source")
    try:
        found = list(walk(root))
        if isinstance(layout, LabelTable):
            rows, left_out = list_table(root, layout, found)
        else:
            rows, left_out = _list(root, layout, found)
    except OSError as error:
        raise LayoutError(f"{error.filename} cannot be read: {error.strerror}") from error
    listing = check_listing(with_held_out_as_test(as_listing(rows)), root)
    return listing, as_left_out(left_out)


def _list(
    root: Path, layout: ClassFolders, found: Sequence[Found]
) -> tuple[list[tuple[str, str, str, str]], list[tuple[str, str, str]]]:
    """The rows of the listing, and of what is left out, by the names of the folders."""
    splits = _split_folders(root)
    rows, left_out = [], []
    for file in found:
        *folders, _ = file.path.split("/")
        split = splits.get(folders.pop(0), None) if splits and folders else ""
        if file.reason:
            left_out.append((file.path, file.status, file.reason))
        elif split is None or not folders:
            where = "the split folders" if split is None else "a class folder"
            left_out.append((file.path, "ignored", f"It is not in {where}."))
        else:
            rows.append((file.path, _class_name(folders[0], layout), split, ""))
    _check_no_empty_folder(root, splits, rows, left_out)
    return rows, left_out


def _split_folders(root: Path) -> dict[str, str]:
    """The split of each split folder; none unless one is called train."""
    splits = {folder: SPLIT_NAMES[folder.lower()] for folder in _folders(root) if folder.lower() in SPLIT_NAMES}
    if "train" not in splits.values():
        return {}
    for split in ("train", "validation", "test"):
        same = [folder for folder, its_split in splits.items() if its_split == split]
        if len(same) > 1:
            raise LayoutError(f"{root} has {len(same)} folders for the {split} part, {same}: keep one of them")
    return splits


def _folders(folder: Path) -> list[str]:
    """The folders that may be classes or splits, sorted."""
    return sorted(
        entry.name for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and entry.name != "__MACOSX"
    )  # fmt: skip


def _class_name(folder: str, layout: ClassFolders) -> str:
    if layout.names is None:
        return folder
    if folder not in layout.names:
        cure = did_you_mean(folder, layout.names)
        raise LayoutError(f"dataset.layout.names: the folder {folder!r} has no name{cure}")
    return layout.names[folder]


def _check_no_empty_folder(
    root: Path,
    splits: Mapping[str, str],
    rows: Sequence[tuple[str, str, str, str]],
    left_out: Sequence[tuple[str, str, str]],
) -> None:
    depth = 2 if splits else 1
    filled = {"/".join(path.split("/")[:depth]) for path, *_ in rows}
    parents = [f"{split}/" for split in splits] or [""]
    expected = [f"{parent}{name}" for parent in parents for name in _folders(root / parent)]
    for folder in map(printable, expected):
        if folder not in filled:
            inside = [f"{path}: {why}" for path, _, why in left_out if f"{path}/".startswith(f"{folder}/")]
            first = f". Of what is in it, the first is {inside[0]}" if inside else ""
            raise LayoutError(f"{root / folder} is a class folder without images: fill it or remove it{first}")
