"""Predictions for image files from checkpoints alone: they carry the classes, the architecture and the view."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from transferlab.core.calibration.reference import Calibrated
from transferlab.core.data.decoding.batch import Decoded, decode_all
from transferlab.core.data.decoding.decode import Rules, UnusableImageError
from transferlab.core.inference.ensemble import Ensemble
from transferlab.core.inference.sources import Item
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.runtime.compute import Compute
from transferlab.core.runtime.device import Machine, resolve

SET_SEPARATOR = " | "


@dataclass(frozen=True)
class Prediction:
    """What became of one file.

    Attributes:
        path: the file.
        probabilities: of the classes, (K,), which sum to 1; None when the file was refused.
        reason: the sentence that says why the file cannot be used; None when it was predicted.
        label: its class, where that is known.
        features: of each network, and of each layer that is looked at, (F,); none when the file was refused.
        pixel_sha256: of its pixels, as the index has it; None when the file was refused.
    """

    path: Path
    probabilities: NDArray[np.float64] | None = None
    reason: str | None = None
    label: str | None = None
    features: tuple[tuple[NDArray[np.float32], ...], ...] = ()
    pixel_sha256: str | None = None


def predict(checkpoint: Checkpoint, files: Sequence[Path], machine: Machine | None = None) -> pd.DataFrame:
    """Predict a few files, all of which must be usable; for many of unknown quality, see `predict_files`.

    Args:
        checkpoint: of a trial.
        files: image files.
        machine: where to compute; by default on the best device there is.

    Returns:
        One row per file: path, prediction, and a column `p_<class>` per class, which sum to 1.

    Raises:
        CheckpointError: the checkpoint does not fit the network that it names.
        UnusableImageError: a file is no image that can be used; names it.
    """
    predictions = list(predict_files([checkpoint], files, machine, workers=0))
    for prediction in predictions:
        if prediction.reason is not None:
            raise UnusableImageError(f"{prediction.path}: {prediction.reason}")
    told = table(predictions, checkpoint.header.classes, top_k=1)
    return told.drop(columns=["probability", "reason"])


def predict_files(
    checkpoints: Sequence[Checkpoint],
    files: Iterable[str | Path],
    machine: Machine | None = None,
    workers: int | None = None,
) -> Iterator[Prediction]:
    """Yield one prediction per file, in order; memory does not grow with their number.

    Files are decoded in processes that may die, as for training, and seen exactly as the evaluation sees test images.
    A file that cannot be used is a prediction with a reason, and no error.

    Args:
        checkpoints: one, or several whose probabilities are averaged.
        files: image files.
        machine: where to compute; by default on the best device there is.
        workers: processes that decode; by default one per CPU; 0 decodes in this process.

    Raises:
        CheckpointError: a checkpoint does not fit the network that it names.
        EnsembleError: there is no checkpoint, or their classes differ.
    """
    ensemble = Ensemble(checkpoints, machine or resolve(Compute()))
    paths = [Path(file) for file in files]
    return _stream(ensemble, paths, os.cpu_count() or 1 if workers is None else workers)


def predict_items(
    checkpoints: Sequence[Checkpoint],
    items: Sequence[Item],
    machine: Machine | None = None,
    workers: int | None = None,
) -> Iterator[Prediction]:
    """Yield one prediction per item, in order, with its label; an item that has a reason is refused for it.

    Arguments and errors are those of `predict_files`.
    """
    usable = [item.path for item in items if item.reason is None]
    predicted = predict_files(checkpoints, usable, machine, workers)

    def merged() -> Iterator[Prediction]:
        for item in items:
            one = Prediction(item.path, reason=item.reason) if item.reason is not None else next(predicted)
            yield replace(one, label=item.label)

    return merged()


def _stream(ensemble: Ensemble, paths: Sequence[Path], workers: int) -> Iterator[Prediction]:
    waiting: deque[Prediction] = deque()  # no more than the batches under way, and the refused files between them
    resizes = list(dict.fromkeys(view.stored_as for view in ensemble.views))
    place = [resizes.index(view.stored_as) for view in ensemble.views]
    for path, outcome in zip(paths, decode_all(paths, resizes, workers, Rules(levels=ensemble.levels)), strict=True):
        if isinstance(outcome, Decoded):
            waiting.append(Prediction(path, pixel_sha256=outcome.pixel_sha256))
            ensemble.push([outcome.images[i] for i in place])
        else:
            waiting.append(Prediction(path, reason=outcome.reason))
        yield from _finished(ensemble, waiting)
    ensemble.finish()
    yield from _finished(ensemble, waiting)


def _finished(ensemble: Ensemble, waiting: deque[Prediction]) -> Iterator[Prediction]:
    """Take the predictions from the front that are known."""
    while waiting:
        if waiting[0].reason is not None:
            yield waiting.popleft()
        elif (answer := ensemble.pop()) is not None:
            yield replace(waiting.popleft(), probabilities=answer.p_K, features=answer.features)
        else:
            return


def table(
    predictions: Iterable[Prediction],
    classes: Sequence[str],
    top_k: int = 1,
    with_labels: bool = False,
    calibrated: Calibrated | None = None,
    trained_on: Collection[str] | None = None,
) -> pd.DataFrame:
    """Make a table of predictions.

    Args:
        predictions: of `predict_files`.
        classes: of the checkpoint.
        top_k: how many classes to name; at most all.
        with_labels: add a column label after path.
        calibrated: adds prediction_set (classes, the most probable first, joined by ` | `), set_size, unfamiliar (yes
            or no) and relative_distance (to the nearest training images; above 1 is unfamiliar).
        trained_on: digests of the training images' pixels; adds trained_on (yes or no) after label.

    Returns:
        One row per file: path, prediction, probability, then prediction_2, probability_2, ... up to `top_k`, a column
        `p_<class>` per class, and reason. Of a refused file all but path, label and reason are missing.
    """
    rows = list(predictions)
    p_NK = np.full((len(rows), len(classes)), np.nan)
    known = [i for i, row in enumerate(rows) if row.probabilities is not None]
    for i in known:
        p_NK[i] = rows[i].probabilities
    order_NK = np.argsort(-p_NK, axis=1, kind="stable")
    columns: dict[str, object] = {"path": [str(row.path) for row in rows]}
    if with_labels:
        columns["label"] = [row.label for row in rows]
    if trained_on is not None:
        was_seen = ["yes" if rows[i].pixel_sha256 in trained_on else "no" for i in known]
        columns["trained_on"] = _spread(was_seen, known, len(rows))
    for rank in range(max(1, min(top_k, len(classes)))):
        suffix = f"_{rank + 1}" if rank else ""
        columns[f"prediction{suffix}"] = _spread([classes[k] for k in order_NK[known, rank]], known, len(rows))
        columns[f"probability{suffix}"] = np.take_along_axis(p_NK, order_NK[:, [rank]], axis=1)[:, 0]
    if calibrated:
        told = _calibrated_columns([rows[i] for i in known], p_NK[known], order_NK[known], classes, calibrated)
        columns |= {name: _spread(values, known, len(rows)) for name, values in told.items()}
    columns |= {f"p_{name}": p_NK[:, k] for k, name in enumerate(classes)}
    return pd.DataFrame({**columns, "reason": [row.reason for row in rows]})


def _calibrated_columns(
    rows: Sequence[Prediction],
    p_NK: NDArray[np.float64],
    order_NK: NDArray[np.int64],
    classes: Sequence[str],
    calibrated: Calibrated,
) -> dict[str, Sequence[object] | NDArray[np.float64]]:
    """Return prediction sets, and how far images are from the training images, of rows that were predicted."""
    is_in_NK = calibrated.sets.of(p_NK)
    sets = [[classes[k] for k in order_K if is_in_K[k]] for order_K, is_in_K in zip(order_NK, is_in_NK, strict=True)]
    by_network = zip(*(row.features for row in rows), strict=True)
    features = [[np.stack(of_layer) for of_layer in zip(*of_rows, strict=True)] for of_rows in by_network]
    distance_N = calibrated.familiarity.relative_distance(features) if rows else np.empty(0)
    return {
        "prediction_set": [SET_SEPARATOR.join(names) for names in sets],
        "set_size": is_in_NK.sum(axis=1),
        "unfamiliar": ["yes" if distance > 1 else "no" for distance in distance_N],
        "relative_distance": distance_N,
    }


def _spread(values: Sequence[object] | NDArray[np.float64], places: Sequence[int], count: int) -> pd.Series:
    """Return a column of `count` cells that has the values at some places and is missing elsewhere.

    An array makes a column of numbers also where it is empty, so that all parts of a long table have the same types;
    whole numbers stay whole beside a missing cell.
    """
    missing: object = None
    if not isinstance(values, np.ndarray):
        kind = "object"
    else:
        kind, missing = ("Int64", pd.NA) if values.dtype.kind == "i" else ("float64", np.nan)
    column = pd.Series(missing, index=range(count), dtype=kind)
    column.iloc[list(places)] = list(values)
    return column
