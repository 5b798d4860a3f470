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
from transferlab.core.data.split.names import TEST, TRAIN, VALIDATION, likely_splits, part_and_rest, splits_by_name
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
    within = bool(splits) and not any((root / folder).is_dir() for folder in splits)
    rows, left_out = [], []
    for file in found:
        split, folder = _place(file.path, splits, within)
        if file.reason:
            left_out.append(LeftOut(file.path, file.status, file.reason))
        elif split is None or not folder:
            where = "the split folders" if split is None else "a class folder"
            left_out.append(LeftOut(file.path, "ignored", f"It is not in {where}."))
        else:
            rows.append(Listed(file.path, _class_name(folder, layout), split))
    _check_no_empty_folder(root, layout, [] if within else list(splits), rows, left_out)
    return rows, left_out


def _place(path: str, splits: Mapping[str, str], within: bool) -> tuple[str | None, str]:
    """Return the split of a file and the folder of its class; None and "" where it is in neither."""
    folders = path.split("/")[:-1]
    if not splits:
        return "", folders[0] if folders else ""
    if within:
        return (splits.get(folders[1]), folders[0]) if len(folders) > 1 else (None, "")
    for part, split in splits.items():
        depth = part.count("/") + 1
        if folders[:depth] == part.split("/"):
            return split, folders[depth] if len(folders) > depth else ""
    return None, ""


def folders_in(folder: Path, ignore: Sequence[str] = ()) -> list[str]:
    """Return the folders that may be classes or parts, sorted."""
    return sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and not why_litter(entry.name, entry.name, ignore)
    )


def _splits(root: Path, layout: ClassFolders, found: Sequence[Found]) -> Mapping[str, str]:
    """Return the split of each folder that is a part; empty where all are classes."""
    tops = _tops(found)
    if layout.splits is not None:
        images = [file.path for file in found if not file.reason]
        known = {*tops, *(inside for top in tops.values() for inside in top.inside)}
        given = {folder.strip("/"): split for folder, split in layout.splits.items()}
        for folder in given:
            if folder not in known and not any(path.startswith(f"{folder}/") for path in images):
                cure = did_you_mean(folder, known)
                raise LayoutError(f"dataset.layout.splits: {root} has no folder {folder!r} with images{cure}")
        return given
    splits = _by_name(root, tops)
    if not splits:
        _check_not_alike(root, tops)
        _check_no_parts_without_classes(root, tops)
    return _down_to_classes(splits, found)


def _down_to_classes(splits: dict[str, str], found: Sequence[Found]) -> dict[str, str]:
    """Go on into the only folder of every part, where all have one: `seg_train/seg_train/<class>`."""
    while splits:
        below = {part: _tops([Found(file.path.removeprefix(f"{part}/")) for file in found
                              if not file.reason and file.path.startswith(f"{part}/")]) for part in splits}  # fmt: skip
        if any(len(tops) != 1 or not next(iter(tops.values())).inside for tops in below.values()):
            break
        splits = {f"{part}/{next(iter(below[part]))}": split for part, split in splits.items()}
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
        _check_not_alike(root, tops)
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
    """Stop where most folders hold the same folders: they may be parts, and what is in them the classes."""
    nested = {folder: top.inside for folder, top in tops.items() if 2 * top.direct < top.images}
    if len(nested) < 2 or 2 * len(nested) <= len(tops):
        return
    common, union = set.intersection(*nested.values()), set.union(*nested.values())
    if len(common) < 2 or 2 * len(common) < len(union):
        return
    shown = ", ".join(map(repr, sorted(common)[:3])) + (", ..." if len(common) > 3 else "")
    if len(within := splits_by_name(sorted(union))) == len(union):
        raise LayoutError(
            f"{root}: every folder holds {shown}. "
            + _answers(within, "those are the parts of each class", "they are of no meaning")
        )
    folders = sorted(nested)
    likely = likely_splits(folders)
    if TRAIN not in likely.values():
        likely[max(folders, key=lambda name: (likely.get(name) != TEST, tops[name].images))] = TRAIN
    likely = {folder: likely.get(folder, TEST) for folder in folders}
    raise LayoutError(
        f"{root}: the folders {', '.join(map(repr, folders[:3]))} all hold {shown}. "
        + _answers(likely, f"they are parts of the data, and the classes are {shown}", "each of them is a class")
    )


def _check_no_parts_without_classes(root: Path, tops: Mapping[str, _Top]) -> None:
    """Stop where all folders are named like parts, and the images lie directly in them."""
    read = [found for folder in tops if (found := part_and_rest(folder)) is not None]
    parts = {part for part, _ in read}
    if len(read) < max(2, len(tops)) or TRAIN not in parts or len(parts) < 2:
        return
    if len(classes := {rest for _, rest in read}) == 1:
        cure = "put the images of each class into a folder in it, or name a table of their labels (name: label_table)"
    elif all(len({part for part, rest in read if rest == name}) > 1 for name in classes):
        cure = "make folders train/<class> and test/<class> of them"
    else:
        return
    raise LayoutError(
        f"{root}: the folders {', '.join(map(repr, sorted(tops)[:4]))} are named like parts of the data, not like "
        f"classes: {cure}. If each of them is a class, say so in dataset: "
        "`layout: {name: class_folders, splits: {}}`"
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
    filled = {folder for row in rows for folder in _parents(row.path)}
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


def _parents(path: str) -> list[str]:
    return [path[:at] for at, letter in enumerate(path) if letter == "/"]


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
