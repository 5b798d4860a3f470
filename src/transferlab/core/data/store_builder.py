"""Build image stores from a listing: decode each image once, keep what is unchanged, quarantine what cannot be used."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from transferlab.core.data.decoding.batch import Decoded, Decoding, Outcome, Span, decode_all, spans
from transferlab.core.data.decoding.decode import DECODER, Rules
from transferlab.core.data.decoding.levels import Levels, Percentiles, as_percentiles, settled
from transferlab.core.data.earlier_build import EarlierBuild, Record
from transferlab.core.data.listing.table import as_left_out
from transferlab.core.data.store import ImageStore, Resize
from transferlab.core.data.store_writer import StoreWriter
from transferlab.core.errors import MendableError
from transferlab.core.files.folders import whole_folder
from transferlab.core.files.hashing import sha256_of

logger = logging.getLogger(__name__)

Report = Callable[[int, int], None]


class BuildError(MendableError):
    """No store can be built: the message says why."""


Built = tuple[dict[str, ImageStore], pd.DataFrame, pd.DataFrame]
FEW_LEVELS = 32  # of 256: below, an 8-bit image shows steps
FEW_FILES = 0.01  # of a data set: so many may be of another depth, or unreadable, without a word


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
    workers = decoding.workers if decoding.workers is not None else cpus()
    paths = [str(path) for path in listing["path"]]
    files = [root / path for path in paths]
    hashes = file_hashes(files, max(workers, 1))
    before = EarlierBuild(folder, resizes, decoding)
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
        about = {**decoding.settings(), "levels": asdict(levels) if levels else None}
        with closing(decoded):
            stores, records = _write(folder, resizes, about, paths, _reported(outcomes, len(paths), report))
        _remove_replaced(stores)
    return {store.resize.key: store for store in stores}, *_tables(listing, records)


def _levels(files: Sequence[Path], decoding: Decoding, workers: int) -> Levels | None:
    """Settle the levels of a data set, with a warning where they leave few of the 256 greys."""
    chosen = decoding.range
    whole = Percentiles() if isinstance(chosen, tuple) else as_percentiles(chosen)
    if whole.of == "file":
        return settled(chosen, channels=decoding.channels)
    rules = Rules(max_pixels=decoding.max_pixels, levels=Levels(channels=decoding.channels))
    found = spans(files, (whole.low, whole.high), workers, rules)
    levels = settled(chosen, [(span.low, span.high) for span in found], decoding.channels)
    if found and levels and levels.low is not None and levels.high is not None:
        _tell_levels(found, levels.low, levels.high)
        if not isinstance(chosen, tuple) and min(len(found), len(files) - len(found)) > FEW_FILES * len(files):
            logger.warning(
                "%d of %d files have values of more than 8 bits: the same picture is not as bright in both kinds. "
                "If all are photographs, set dataset.range: [0, 65535]",
                len(found),
                len(files),
            )
    return levels


def _tell_levels(found: Sequence[Span], black: float, white: float) -> None:
    """Log the range, as a warning where half of the images use a small part of it."""
    width = (white - black) or 1.0
    used = [256 * max(0.0, min(span.most_high, white) - max(span.most_low, black)) / width for span in found]
    half = int(median(used))
    told = (
        f"{len(found)} images have values of more than 8 bits: from {black:g} (black) to {white:g} (white), "
        f"half of them use at most {half} of the 256 levels that are kept, but for single pixels"
    )
    if half < FEW_LEVELS:
        logger.warning(
            "%s; dataset.range can be narrower, such as {low: 1, high: 99}, or `file`: each image its own", told
        )
    else:
        logger.info("%s (dataset.range)", told)


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


def file_hashes(files: Sequence[Path], threads: int) -> list[str | None]:
    """Return the SHA-256 of every file; None for one that cannot be read, which decoding then explains."""

    def of(file: Path) -> str | None:
        try:
            return sha256_of(file)
        except OSError:
            return None

    with ThreadPoolExecutor(threads) as pool:  # hashlib lets other threads run while it hashes
        return list(pool.map(of, files))


def cpus() -> int:
    """Count the CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
