"""How a folder says which image is of which class, as a user configures it; `layout` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from transferlab.core.data.split.names import TRAIN
from transferlab.core.files.paths import stays_inside
from transferlab.core.validation import check, pattern_problem

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True, kw_only=True)
class ClassFolders:
    """`<class>/...`, or `train/<class>/...` beside `val` and `test` under their usual names; nested folders count too.

    Attributes:
        name: the kind of layout.
        names: readable class names for folders named otherwise, such as `{"n02086240": "Shih-Tzu"}`.
        splits: which folder holds which part, such as `{"Training": "train", "Testing": "test"}`, above the classes (as
            a path where it lies deeper) or within each; `{}` where every folder is a class, whatever its name; null to
            go by the names.
        ignore: patterns of files and folders that are no part of the data, such as `*_mask.png`.
    """

    name: Literal["class_folders"] = "class_folders"
    names: Mapping[str, str] | None = None
    splits: Mapping[str, Part] | None = None
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the fields."""
        given = list((self.names or {}).values())
        check(
            (len(set(given)) == len(given), "names", self.names, "must give every folder a name of its own"),
            (all(map(str.strip, given)), "names", self.names, "must not give a folder an empty name"),
            (not self.splits or TRAIN in self.splits.values(), "splits", self.splits, "must say which folder is train"),
        )


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Two classes from a number: `above` where it is at least the threshold, else `below`.

    Attributes:
        column: the column with the number.
        threshold: the smallest number that belongs to `above`.
        below: the class below the threshold.
        above: the class from the threshold on.
    """

    column: str
    threshold: float
    below: str
    above: str

    def __post_init__(self) -> None:
        """Check the fields."""
        named = {"below": self.below, "above": self.above}
        check(
            (self.below != self.above, "above", self.above, "must differ from below"),
            *((bool(name.strip()), key, name, "must name a class") for key, name in named.items()),
            (self.threshold == self.threshold, "threshold", self.threshold, "must be a number"),
        )


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    r"""A table with one row for each image: CSV or other text, or Parquet (`.parquet`).

    Attributes:
        name: the kind of layout.
        file: the table, relative to the data's root.
        separator: what separates columns, a regular expression when longer than one character, such as `\s+`.
        columns: the names of the columns, for a file without a header.
        path: the column with the image's path.
        folder: what those paths are relative to, itself relative to the data's root; a list where the images are in
            several folders.
        suffix: what to append to those paths, such as `.jpg` where the column has bare ids.
        label: the column with the class, or a threshold on a number.
        stratify: a column to stratify splits by besides the class.
        split: a column with train, validation or test, under their usual names.
        ignore: patterns of files and folders that are no part of the data, such as `*_mask.png`.
        group: what `stratify` was called; null.
    """

    name: Literal["label_table"] = "label_table"
    file: str
    separator: str = ","
    columns: tuple[str, ...] | None = None
    path: str = "path"
    folder: str | tuple[str, ...] = "."
    suffix: str = ""
    label: str | Threshold
    stratify: str | None = None
    split: str | None = None
    ignore: tuple[str, ...] = ()
    group: str | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        separator = pattern_problem(self.separator) if len(self.separator) > 1 else ""
        columns = self.columns or ()
        below = "must be a relative path below the data's root"
        check(
            (stays_inside(self.file), "file", self.file, below),
            (bool(self.folders) and all(map(stays_inside, self.folders)), "folder", self.folder, below),
            (bool(self.separator), "separator", self.separator, "must not be empty"),
            (not separator, "separator", self.separator, separator),
            (len(set(columns)) == len(columns), "columns", self.columns, "must not repeat a name"),
            (
                self.group is None,
                "group",
                self.group,
                "never kept groups together, it stratifies: rename it to `stratify`; to keep the images of a group on "
                "one side of every split, name the column in dataset.split.groups",
            ),
        )

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that paths may be relative to."""
        return (self.folder,) if isinstance(self.folder, str) else self.folder


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """`metadata.csv` or `metadata.jsonl` with `file_name` and a label, one for all images or one in each part's folder.

    Attributes:
        name: the kind of layout.
        label: the column with the class.
        stratify: a column to stratify splits by besides the class.
        ignore: patterns of files and folders that are no part of the data, such as `*_mask.png`.
    """

    name: Literal["image_folder"] = "image_folder"
    label: str = "label"
    stratify: str | None = None
    ignore: tuple[str, ...] = ()


Layout = ClassFolders | LabelTable | ImageFolder
