"""Folders named after the classes, alone or below a folder for each part of the data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transferlab.core.data.listing.config import ClassFolders
from transferlab.core.data.listing.scan import Found, printable, why_litter
from transferlab.core.data.listing.table import LayoutError, LeftOut, Listed
from transferlab.core.data.split.names import TEST, TRAIN, VALIDATION, splits_by_name
from transferlab.core.validation import did_you_mean


@dataclass
class _Top:
    """A folder at the root: how many images lie directly in it, and which of its folders hold images."""

    direct: int = 0
    inside: set[str] = field(default_factory=set)
    images: int = 0


def list_folders(root: Path, layout: ClassFolders, found: Sequence[Found]) -> tuple[list[Listed], list[LeftOut]]:
    """Return the rows of the listing, and of what is left out, by the names of the folders.

    Raises:
        LayoutError: a class without images, or folders of which the names do not say whether they are parts or classes.
    """
    splits = _splits(root, layout, found)
    within = bool(splits) and not any(folder in splits for folder in folders_in(root, layout.ignore))
    rows, left_out = [], []
    for file in found:
        folders = file.path.split("/")[:-1]
        split = "" if not splits else splits.get(folders.pop(1 if within else 0)) if len(folders) > within else None
        if file.reason:
            left_out.append(LeftOut(file.path, file.status, file.reason))
        elif split is None or not folders:
            where = "the split folders" if split is None else "a class folder"
            left_out.append(LeftOut(file.path, "ignored", f"It is not in {where}."))
        else:
            rows.append(Listed(file.path, _class_name(folders[0], layout), split))
    _check_no_empty_folder(root, layout, [] if within else list(splits), rows, left_out)
    return rows, left_out


def folders_in(folder: Path, ignore: Sequence[str] = ()) -> list[str]:
    """Return the folders that may be classes or parts, sorted."""
    return sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and not why_litter(entry.name, entry.name, ignore)
    )


def _splits(root: Path, layout: ClassFolders, found: Sequence[Found]) -> Mapping[str, str]:
    """Return the split of each folder that is a part; empty where all are classes."""
    tops = _tops(found)
    if layout.splits is not None:
        known = {*tops, *(inside for top in tops.values() for inside in top.inside)}
        for folder in layout.splits:
            if folder not in known:
                cure = did_you_mean(folder, known)
                raise LayoutError(f"dataset.layout.splits: {root} has no folder {folder!r} with images{cure}")
        return layout.splits
    splits = _by_name(root, tops)
    if not splits:
        _check_not_alike(root, tops)
    return splits


def _tops(found: Sequence[Found]) -> dict[str, _Top]:
    tops: dict[str, _Top] = {}
    for file in found:
        folder, *rest = file.path.split("/")
        if rest and not file.reason:
            top = tops.setdefault(folder, _Top())
            top.images += 1
            if len(rest) == 1:
                top.direct += 1
            else:
                top.inside.add(rest[0])
    return tops


def _by_name(root: Path, tops: Mapping[str, _Top]) -> dict[str, str]:
    """Return the parts that the usual names tell, if one for training has classes in it."""
    splits = splits_by_name(sorted(tops))
    training = [folder for folder, split in splits.items() if split == TRAIN and tops[folder].inside]
    if not training:
        return {}
    others = [folder for folder in tops if folder not in splits]
    if others and len(splits) == 1:
        if tops[training[0]].direct:
            return {}
        raise LayoutError(
            f"{root}: is {training[0]!r} the training part, or a class like {others[0]!r}? "
            + _answers({training[0]: TRAIN}, "it is the training part (the others are then left out)", "it is a class")
        )
    for split in (TRAIN, VALIDATION, TEST):
        same = [folder for folder, its_split in splits.items() if its_split == split]
        if len(same) > 1:
            raise LayoutError(
                f"{root} has {len(same)} folders for the {split} part, {same}: keep one of them, or say in "
                f"dataset.layout.splits what each is: splits: {json.dumps(splits, ensure_ascii=False)}"
            )
    return splits


def _check_not_alike(root: Path, tops: Mapping[str, _Top]) -> None:
    """Stop where all folders hold the same folders and no image: they may be parts, and what is in them the classes."""
    insides = [top.inside for top in tops.values()]
    if len(tops) < 2 or any(top.direct for top in tops.values()):
        return
    common, union = set.intersection(*insides), set.union(*insides)
    if len(common) < 2 or 2 * len(common) < len(union):
        return
    shown = ", ".join(map(repr, sorted(common)[:3])) + (", ..." if len(common) > 3 else "")
    if len(within := splits_by_name(sorted(union))) == len(union):
        raise LayoutError(
            f"{root}: every folder holds {shown}. "
            + _answers(within, "those are the parts of each class", "they are of no meaning")
        )
    largest = max(tops, key=lambda folder: tops[folder].images)
    likely = {folder: TRAIN if folder == largest else TEST for folder in sorted(tops)} | splits_by_name(sorted(tops))
    if TRAIN not in likely.values():
        likely[largest] = TRAIN
    raise LayoutError(
        f"{root}: the folders {', '.join(map(repr, sorted(tops)[:3]))} all hold {shown}. "
        + _answers(likely, f"they are parts of the data, and the classes are {shown}", "each of them is a class")
    )


def _answers(likely: Mapping[str, str], if_parts: str, if_classes: str) -> str:
    """Write out the two settings that answer whether folders are parts or classes."""
    splits = json.dumps(likely, ensure_ascii=False)
    return (
        f"Say so in dataset: `layout: {{name: class_folders, splits: {splits}}}` if {if_parts}; "
        f"`layout: {{name: class_folders, splits: {{}}}}` if {if_classes}."
    )


def _class_name(folder: str, layout: ClassFolders) -> str:
    if layout.names is None:
        return folder
    if folder not in layout.names:
        cure = did_you_mean(folder, layout.names)
        raise LayoutError(f"dataset.layout.names: the folder {folder!r} has no name{cure}")
    return layout.names[folder]


def _check_no_empty_folder(
    root: Path, layout: ClassFolders, parts: Sequence[str], rows: Sequence[Listed], left_out: Sequence[LeftOut]
) -> None:
    depth = 2 if parts else 1
    filled = {"/".join(row.path.split("/")[:depth]) for row in rows}
    parents = [f"{part}/" for part in parts] or [""]
    expected = [f"{parent}{name}" for parent in parents for name in folders_in(root / parent, layout.ignore)]
    for folder in map(printable, expected):
        if folder not in filled and not why_litter(folder, folder, layout.ignore):
            inside = [f"{path}: {why}" for path, _, why in left_out if f"{path}/".startswith(f"{folder}/")]
            first = f". Of what is in it, the first is {inside[0]}" if inside else ""
            raise LayoutError(
                f"{root / folder} is a class folder without images: fill it, remove it, or name it in "
                f"dataset.layout.ignore{first}"
            )


def where_classes_may_be(root: Path, found: Sequence[Found]) -> str:
    """Say what there is instead of a folder for each class, and the cure."""
    paths = [file.path.split("/") for file in found if not file.reason]
    if loose := sum(len(path) == 1 for path in paths):
        images = "1 image lies" if loose == 1 else f"{loose} images lie"
        return (
            f"{images} directly here: put them into a folder for each class, or name a table of their labels in "
            "dataset.layout (name: label_table)."
        )
    above: list[str] = []
    while paths:
        below = Counter(path[len(above)] for path in paths if len(path) > len(above) + 1)
        if len(below) != 1 or below.total() < len(paths):
            break
        above.append(next(iter(below)))
    if above and len(below) > 1:
        some = " and ".join(map(repr, sorted(below)[:2]))
        return (
            f"The classes seem to be further down, {some} in {root.joinpath(*above)}: name that folder in "
            "dataset.source (path, folder or subfolder), or give it to new-experiment."
        )
    return "If the classes are in a folder further down, name it in dataset.source (subfolder, folder or path)."
