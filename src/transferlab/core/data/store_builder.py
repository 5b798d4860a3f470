"""Build image stores from a listing: decode each image once, keep what is unchanged, quarantine what cannot be used."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from transferlab.core.data.decoding.batch import Decoded, Outcome, Span, decode_all, spans
from transferlab.core.data.decoding.decode import DECODER, MAX_PIXELS, Rules
from transferlab.core.data.decoding.levels import Levels, Percentiles, Range, as_percentiles, settled
from transferlab.core.data.decoding.pool import Failed
from transferlab.core.data.listing.table import as_left_out
from transferlab.core.data.store import ImageStore, Resize, StoreError, StoreWriter
from transferlab.core.errors import MendableError
from transferlab.core.files.folders import whole_folder
from transferlab.core.files.hashing import sha256_of

logger = logging.getLogger(__name__)

Report = Callable[[int, int], None]


class BuildError(MendableError):
    """No store can be built: the message says why."""


Record = dict[str, Any]  # path, file_sha256, reason (None when accepted), width, height, pixel_sha256
Built = tuple[dict[str, ImageStore], pd.DataFrame, pd.DataFrame]
FEW_LEVELS = 32  # of 256: below, an 8-bit image shows steps


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How images are decoded.

    Attributes:
        workers: processes; by default one per CPU; 0 decodes in this process.
        range: of grey values of more than 8 bits, what is black and what is white.
        max_pixels: an image with more is refused.
    """

    workers: int | None = None
    range: Range = "dataset"
    max_pixels: int = MAX_PIXELS


def build(
    root: Path,
    listing: pd.DataFrame,
    resizes: Sequence[Resize],
    folder: Path,
    decoding: Decoding | None = None,
    report: Report | None = None,
) -> Built:
    """Decode every image of `listing` once and store it in each of `resizes`.

    A second build decodes only files whose content (SHA-256, not the time of change) is new at their path, and takes
    the other images from the stores in `folder`. Stores appear whole or not at all and are named after their content;
    when the new ones are there, those that they replace are removed.

    Args:
        root: the folder that the listing's paths are relative to.
        listing: the columns path, class, split, stratify, group.
        resizes: the sizes to keep; duplicates are built once.
        folder: where the stores are.
        decoding: how to decode; by default in one process per CPU.
        report: called as `report(done, total)` after every image.

    Returns:
        The stores by the key of their resize; the accepted rows (the listing's columns and width, height, int64 pixels
        after EXIF rotation, and pixel_sha256), in the listing's order: row i is row i of every store; the quarantine
        (path, status, reason).

    Raises:
        BuildError: no image could be used; the message gives the first reasons.
    """
    root, folder, decoding = Path(root), Path(folder), decoding or Decoding()
    resizes = list({resize.key: resize for resize in resizes}.values())
    workers = decoding.workers if decoding.workers is not None else _cpus()
    paths = [str(path) for path in listing["path"]]
    files = [root / path for path in paths]
    hashes = _file_hashes(files, max(workers, 1))
    before = _Before(folder, resizes, decoding)
    if before.is_of(paths, hashes):
        stores, records = before.stores, before.records
    else:
        levels = _levels(files, decoding, workers)
        before.keep_only(levels)
        new = [
            file for file, path, sha256 in zip(files, paths, hashes, strict=True) if not before.outcome(path, sha256)
        ]
        rules = Rules(max_pixels=decoding.max_pixels, levels=levels)
        decoded = decode_all(new, resizes, workers, rules)
        outcomes = (before.outcome(path, sha256) or next(decoded) for path, sha256 in zip(paths, hashes, strict=True))
        about = {**_settings(decoding), "levels": asdict(levels) if levels else None}
        with closing(decoded):
            stores, records = _write(folder, resizes, about, paths, _reported(outcomes, len(paths), report))
        _remove_replaced(stores)
    return {store.resize.key: store for store in stores}, *_tables(listing, records)


def _settings(decoding: Decoding) -> dict[str, Any]:
    """Return what of the settings decides which pixels a store holds, as its header has it."""
    chosen = decoding.range
    said = asdict(chosen) if isinstance(chosen, Percentiles) else list(chosen) if isinstance(chosen, tuple) else chosen
    return {"range": said, "max_pixels": decoding.max_pixels}


def _levels(files: Sequence[Path], decoding: Decoding, workers: int) -> Levels | None:
    """Settle the levels of a data set, with a warning where they leave few of the 256 greys."""
    chosen = decoding.range
    whole = Percentiles() if isinstance(chosen, tuple) else as_percentiles(chosen)
    if whole.of == "file":
        return settled(chosen)
    found = spans(files, (whole.low, whole.high), workers, Rules(max_pixels=decoding.max_pixels))
    levels = settled(chosen, found)
    if found and levels and levels.low is not None and levels.high is not None:
        _tell_levels(found, levels.low, levels.high)
    return levels


def _tell_levels(found: Sequence[Span], black: float, white: float) -> None:
    """Log the range, as a warning where half of the images use a small part of it."""
    width = (white - black) or 1.0
    used = [256 * max(0.0, min(high, white) - max(low, black)) / width for low, high in found]
    half = int(median(used))
    told = (
        f"{len(found)} images have grey of more than 8 bits: from {black:g} (black) to {white:g} (white), "
        f"half of them use at most {half} of the 256 levels that are kept"
    )
    if half < FEW_LEVELS:
        logger.warning("%s; dataset.range can be narrower, or `file`: each image its own", told)
    else:
        logger.info("%s (dataset.range)", told)


class _Before:
    """What an earlier build left: nothing, unless it left a store for every resize, all of the same files."""

    def __init__(self, folder: Path, resizes: Sequence[Resize], decoding: Decoding) -> None:
        found = [_latest(folder, resize) for resize in resizes]
        stores = [store for store in found if store is not None and _is_as(store, decoding)]
        same = len({json.dumps(store.header["files"]) for store in stores}) == 1
        self.stores = stores if same and len(stores) == len(resizes) else []
        self.records: list[Record] = self.stores[0].header["files"] if self.stores else []
        self._at = {(record["path"], record["file_sha256"]): i for i, record in enumerate(self.records)}
        accepted = [record["reason"] is None for record in self.records]
        self._rows = [sum_before - 1 for sum_before in accumulate(accepted)]

    def is_of(self, paths: Sequence[str], hashes: Sequence[str | None]) -> bool:
        """Tell whether building these very files again would give these very stores."""
        files = [(record["path"], record["file_sha256"]) for record in self.records]
        return bool(self.records) and None not in hashes and files == list(zip(paths, hashes, strict=True))

    def keep_only(self, levels: Levels | None) -> None:
        """Forget everything unless it was decoded at these levels."""
        if self.stores and self.stores[0].levels != levels:
            self._at = {}

    def outcome(self, path: str, file_sha256: str | None) -> Outcome | None:
        """Return what came of this content at this path, if it was there."""
        at = self._at.get((path, file_sha256)) if file_sha256 else None
        if at is None:
            return None
        record = self.records[at]
        if record["reason"] is not None:
            return Failed(record["reason"], file_sha256)
        images_HWC = tuple(store[self._rows[at]] for store in self.stores)
        return Decoded(record["file_sha256"], record["pixel_sha256"], record["width"], record["height"], images_HWC)


def _latest(folder: Path, resize: Resize) -> ImageStore | None:
    """Return the latest store of a resize; remove a damaged one, so that one of the same content can take its place."""
    headers = sorted(folder.glob(f"{resize.key}-*/header.json"), key=lambda file: file.stat().st_mtime_ns)
    if not headers:
        return None
    store = ImageStore(headers[-1].parent)
    try:
        store.verify()
    except StoreError as error:
        logger.warning("%s: removed, the images are decoded again", error)
        shutil.rmtree(store.folder)
        return None
    return store


def _is_as(store: ImageStore, decoding: Decoding) -> bool:
    """Tell whether a store was decoded by the same decoder with the same settings."""
    settings = _settings(decoding)
    return store.header["decoder"] == DECODER and {key: store.decoding.get(key) for key in settings} == settings


def _write(
    folder: Path,
    resizes: Sequence[Resize],
    decoding: Mapping[str, Any],
    paths: Sequence[str],
    outcomes: Iterable[Outcome],
) -> tuple[list[ImageStore], list[Record]]:
    """Write one store per resize, image by image; each gets its name when all are complete."""
    records: list[Record] = []
    names: list[str] = []
    with ExitStack() as unnamed:
        folders = [
            unnamed.enter_context(whole_folder(folder, partial(names.__getitem__, i))) for i in range(len(resizes))
        ]
        with ExitStack() as opened:
            writers = [
                opened.enter_context(StoreWriter(at, resize)) for at, resize in zip(folders, resizes, strict=True)
            ]
            for path, outcome in zip(paths, outcomes, strict=True):
                records.append(_record(path, outcome))
                if isinstance(outcome, Decoded):
                    for writer, image_HWC in zip(writers, outcome.images, strict=True):
                        writer.append(image_HWC)
            _check_some(records)
            names += [f"{writer.resize.key}-{writer.finish(DECODER, records, decoding)}" for writer in writers]
    return [ImageStore(folder / name) for name in names], records


def _record(path: str, outcome: Outcome) -> Record:
    nothing = {"reason": None, "width": None, "height": None, "pixel_sha256": None}
    known = {key: value for key, value in vars(outcome).items() if key != "images"}
    return {"path": path, **nothing, **known}


def _check_some(records: Sequence[Record]) -> None:
    if not any(record["reason"] is None for record in records):
        first = "; ".join(f"{record['path']}: {record['reason']}" for record in records[:3])
        raise BuildError(f"none of the {len(records)} listed images can be used: {first or 'the listing is empty'}")


def _tables(listing: pd.DataFrame, records: Sequence[Record]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the accepted rows of the listing, and the quarantine."""
    about = pd.DataFrame(list(records), index=listing.index)
    good = about["reason"].isna()
    measured = about.loc[good, ["width", "height", "pixel_sha256"]].astype({"width": "int64", "height": "int64"})
    accepted = pd.concat([listing[good], measured], axis=1).reset_index(drop=True)
    bad = about[~good]
    return accepted, as_left_out(
        (path, "quarantined", why) for path, why in zip(bad["path"], bad["reason"], strict=True)
    )


def _remove_replaced(stores: Sequence[ImageStore]) -> None:
    """Remove the stores of the same resizes in the same folder that hold other files."""
    for store in stores:
        for other in store.folder.parent.glob(f"{store.resize.key}-*"):
            if other.name != store.folder.name:
                shutil.rmtree(other)


def _reported(outcomes: Iterable[Outcome], total: int, report: Report | None) -> Iterator[Outcome]:
    for done, outcome in enumerate(outcomes, 1):
        yield outcome
        if report is not None:
            report(done, total)


def _file_hashes(files: Sequence[Path], threads: int) -> list[str | None]:
    """Return the SHA-256 of every file; None for one that cannot be read, which decoding then explains."""

    def of(file: Path) -> str | None:
        try:
            return sha256_of(file)
        except OSError:
            return None

    with ThreadPoolExecutor(threads) as pool:  # hashlib lets other threads run while it hashes
        return list(pool.map(of, files))


def _cpus() -> int:
    """Count the CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
