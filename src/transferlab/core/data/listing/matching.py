"""Finds the files that a table of labels means, also where names differ in case, Unicode form or suffix only."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from transferlab.core.data.listing.scan import IMAGE_SUFFIXES
from transferlab.core.data.listing.table import LayoutError

logger = logging.getLogger(__name__)

_SAME_FORMAT = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tiff": ".tif", ".heif": ".heic"}


class Files:
    """The files below a root, found by names that are nearly theirs."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = frozenset(paths)
        self._by_stem: defaultdict[str, list[str]] = defaultdict(list)
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        for path in sorted(self._paths):
            stem = _stem_and_format(path)[0]
            self._by_stem[stem].append(path)
            self._by_name[PurePosixPath(stem).name].append(path)

    def __contains__(self, path: str) -> bool:
        return path in self._paths

    def like(self, path: str) -> list[str]:
        """Return the files whose names differ in case or Unicode form; where there are none, in how .jpg is written.

        A name without an image's suffix is like the file of that name with any.
        """
        stem, kind = _stem_and_format(path)
        same = [other for other in self._by_stem[stem] if not kind or _stem_and_format(other)[1] == kind]
        return [other for other in same if _folded(other) == _folded(path)] or same

    def of_same_stem(self, path: str) -> list[str]:
        """Return the files that are called so but for the suffix; where there are none, those in any folder."""
        stem, _ = _stem_and_format(path)
        return self._by_stem[stem] or self._by_name[PurePosixPath(stem).name]


def match(wanted: Sequence[Sequence[str]], files: Files, table: str) -> tuple[list[str], dict[str, list[str]]]:
    """Return the path of each row, and for those without a file what they may mean.

    Args:
        wanted: the paths where a row's file may be, one for each folder.
        files: what there is.
        table: its file, for messages.

    Raises:
        LayoutError: a row's file is in several folders.
    """
    paths = [_exact(places, files, table) for places in wanted]
    taken = {path for path in paths if path}
    like = {
        row: [path for place in wanted[row] for path in files.like(place)] for row, path in enumerate(paths) if not path
    }
    claims = Counter(path for found in like.values() for path in found)
    near: dict[str, list[str]] = {}
    matched = []
    for row, found in like.items():
        if len(found) == 1 and claims[found[0]] == 1 and found[0] not in taken:
            paths[row] = found[0]
            matched.append(row)
        else:
            paths[row] = wanted[row][0]
            near[paths[row]] = found or [path for place in wanted[row] for path in files.of_same_stem(place)]
    if matched:
        logger.warning(
            "%s: %d of %d rows name their file in another case, Unicode form or suffix, and were matched; the first: "
            "%s is %s",
            table, len(matched), len(paths), ascii(wanted[matched[0]][0]), ascii(paths[matched[0]]),
        )  # fmt: skip
    return paths, near


def _exact(places: Sequence[str], files: Files, table: str) -> str:
    found = [path for path in places if path in files]
    if len(found) > 1:
        raise LayoutError(f"{table} has one row for {' and '.join(found)}: keep one of the files, or tell them apart")
    return found[0] if found else ""


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _stem_and_format(path: str) -> tuple[str, str]:
    """Return the folded path without an image's suffix, and the suffix as its format writes it; "" for none."""
    suffix = PurePosixPath(path).suffix
    kind = suffix.casefold()
    if kind not in IMAGE_SUFFIXES:
        return _folded(path), ""
    return _folded(path.removesuffix(suffix)), _SAME_FORMAT.get(kind, kind)
