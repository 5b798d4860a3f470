"""How a folder says which image is of which class: folders named after the classes, or a table of labels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from transferlab.core.data.listing.class_folders import list_folders, where_classes_may_be
from transferlab.core.data.listing.config import ImageFolder, LabelTable, Layout
from transferlab.core.data.listing.image_folder import list_image_folder, metadata_files
from transferlab.core.data.listing.label_table import list_table
from transferlab.core.data.listing.scan import Found, ignores, walk
from transferlab.core.data.listing.table import LayoutError, LeftOut, as_left_out, as_listing, check_listing
from transferlab.core.data.split.config import PathGroups
from transferlab.core.data.split.names import held_out_as_test
from transferlab.core.validation import did_you_mean

logger = logging.getLogger(__name__)


def list_images(
    root: Path, layout: Layout, groups: str | PathGroups | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """List every file below `root`: candidate images in the listing, all others with a reason.

    Args:
        root: the data's folder.
        layout: how it says which image is of which class.
        groups: `dataset.split.groups`.

    Returns:
        The listing (path, class, split, stratify, group), sorted by path, and what is left out (path, status, reason),
        where the status is "ignored" for a file that is not part of the data, "quarantined" for an image that cannot be
        read and for a label without an image.

    Raises:
        LayoutError: a class without images, fewer than two classes, splits that disagree, folders that may be classes
            or parts, a table that does not fit, an image without a group, a folder that cannot be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise LayoutError(f"{root} is no folder; name the folder that holds the data in dataset.source")
    column = groups if isinstance(groups, str) else None
    cure = ""
    try:
        found = list(walk(root, layout.ignore))
        _warn_of_idle_patterns(root, layout.ignore, found)
        if isinstance(layout, LabelTable):
            rows, left_out = list_table(root, layout, found, column)
            cure = _first_lost(left_out)
        elif isinstance(layout, ImageFolder):
            rows, left_out = list_image_folder(root, layout, found, column)
            cure = _first_lost(left_out)
        elif column:
            raise LayoutError(
                f"dataset.split.groups: {column!r} names a column, and folders have none: give an expression on the "
                "path, such as {path: '([^/_]+)_[^/]*$'}, or a label table"
            )
        else:
            rows, left_out = list_folders(root, layout, found)
            cure = _cure(root, found) if len({row.label for row in rows}) < 2 else ""
    except OSError as error:
        raise LayoutError(f"{error.filename} cannot be read: {error.strerror}") from error
    listing = check_listing(held_out_as_test(as_listing(rows)), root, cure)
    return _with_groups(listing, groups), as_left_out(left_out)


def _warn_of_idle_patterns(root: Path, ignore: Sequence[str], found: Sequence[Found]) -> None:
    """Warn of patterns that no file or folder matches: they may be mistyped, and what they mean is then an image."""
    if idle := [pattern for pattern in ignore if not any(ignores(pattern, file.path) for file in found)]:
        names = {name for file in found for name in file.path.split("/")}
        logger.warning(
            "dataset.layout.ignore: %s matches nothing below %s%s", ", ".join(map(repr, idle)), root,
            did_you_mean(idle[0], names),
        )  # fmt: skip


def _first_lost(left_out: Sequence[LeftOut]) -> str:
    lost = [row for row in left_out if row.status == "quarantined"]
    return (
        f"Of {len(lost)} rows without an image or a class, the first is {lost[0].path}: {lost[0].reason}"
        if lost
        else ""
    )


def _cure(root: Path, found: Sequence[Found]) -> str:
    """Say what to do where folders are no classes."""
    if tables := metadata_files(found):
        return f"{tables[0]} looks like Hugging Face's: try `layout: {{name: image_folder}}` in dataset."
    return where_classes_may_be(root, found)


def _with_groups(listing: pd.DataFrame, groups: str | PathGroups | None) -> pd.DataFrame:
    """Return the listing with the groups that are read from paths; every image must have one if any is to have one."""
    if groups is None:
        return listing
    if isinstance(groups, PathGroups):
        listing = listing.assign(group=groups.of(listing["path"]))
    if len(without := listing.loc[listing["group"] == "", "path"]):
        raise LayoutError(
            f"dataset.split.groups: {len(without)} of {len(listing)} images have no group, the first is "
            f"{without.iloc[0]}: fill the column, mend the expression, or leave those images out (layout.ignore)"
        )
    return listing
