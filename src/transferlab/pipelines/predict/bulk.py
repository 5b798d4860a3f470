"""Predicts many images in bounded memory, for the command and the pipeline alike; a killed one goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

import transferlab
from transferlab.console import progress
from transferlab.core.calibration.reference import Calibrated
from transferlab.core.inference.predict import predict_items, table
from transferlab.core.inference.sources import Item, find_images
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.runtime.device import Machine
from transferlab.core.training.fingerprint import sha256_of_checkpoint
from transferlab.datasets.parts import TableParts, opened
from transferlab.pipelines.predict.tally import Tally
from transferlab.reporting.wording import count

ROWS = 1000  # of a part of the table: what a kill can lose


@dataclass(frozen=True)
class Request:
    """What to predict, and how.

    Attributes:
        checkpoints: those whose probabilities are averaged.
        sources: see `find_images`.
        machine: where to compute.
        calibrated: gives prediction sets and says what is unfamiliar; None where they cannot be had.
        top_k: how many classes to name.
        workers: processes that decode; None is one per CPU.
        trained_on: digests of the training images' pixels, to tell them where labels are known; None where that is not
            known.
    """

    checkpoints: Sequence[Checkpoint]
    sources: Sequence[str]
    machine: Machine
    calibrated: Calibrated | None = None
    top_k: int = 3
    workers: int | None = None
    trained_on: frozenset[str] | None = None


def predict_all(
    request: Request, folder: Path, write: Callable[[pd.DataFrame], None], tell: Callable[[str], None]
) -> Tally:
    """Predict all images of the sources, and write the table in parts.

    Args:
        request: what to predict.
        folder: keeps finished parts, so that a killed call goes on; whoever has saved the table removes it.
        write: takes each part of the table, when all are there; see `transferlab.core.inference.predict.table`.
        tell: takes a sentence for the user.

    Raises:
        SourceError: a source is not there, or holds no image.
        CheckpointError: a checkpoint does not fit the network that it names.
        EnsembleError: the classes of the checkpoints differ.
        PartsError: another process predicts into the same folder.
    """
    classes = request.checkpoints[0].header.classes
    items = find_images(request.sources, classes)
    tally = Tally(classes)
    with opened(folder, _key(request, items)) as parts:
        if parts.rows:
            tell(f"Going on after {count(parts.rows)} of {count(len(items), 'image')}, which an earlier run predicted")
        _predict_rest(request, items, parts)
        for part in parts:
            write(part)
            tally.add(part)
    return tally


def _predict_rest(request: Request, items: Sequence[Item], parts: TableParts) -> None:
    """Predict what no part has yet."""
    if parts.rows == len(items):
        return
    classes, has_labels = request.checkpoints[0].header.classes, any(item.label for item in items)
    trained_on = request.trained_on if has_labels else None  # it matters to what is measured
    predictions = predict_items(request.checkpoints, items[parts.rows :], request.machine, request.workers)
    with progress.counting("predicting") as report:
        while part := list(islice(predictions, ROWS)):
            parts.append(table(part, classes, request.top_k, has_labels, request.calibrated, trained_on))
            report(parts.rows, len(items))


def _key(request: Request, items: Iterable[Item]) -> str:
    """Return the SHA-256 of all that the table depends on; of files, their names, sizes and times."""
    calibrated = request.calibrated
    about: dict[str, Any] = {
        "version": transferlab.__version__,
        "checkpoints": [sha256_of_checkpoint(checkpoint) for checkpoint in request.checkpoints],
        "machine": request.machine.numerics(),
        "top_k": request.top_k,
        "calibrated": calibrated and [asdict(calibrated.sets), calibrated.familiarity.thresholds],
        "trained_on": request.trained_on and sorted(request.trained_on),
        "rows": ROWS,
    }
    sha256 = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for item in items:
        sha256.update(json.dumps([str(item.path), item.label, item.reason, *_stamp(item.path)]).encode())
    return sha256.hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except (OSError, ValueError):  # decoding says why
        return 0, 0
    return status.st_size, status.st_mtime_ns
