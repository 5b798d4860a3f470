"""The nodes of the predict pipeline."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from transferlab.config.schema import Dataset, Predict, Report, Training
from transferlab.console.errors import UserError
from transferlab.core.runtime.device import apply, resolve
from transferlab.pipelines.predict import pictures
from transferlab.pipelines.predict.bulk import Request, predict_all
from transferlab.versions.calibration import calibration_of
from transferlab.versions.catalogue import Versions
from transferlab.versions.models import find_model, pixels_trained_on

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)


def predict_source(
    predict: Predict,
    training: Training,
    dataset: Dataset,
    report: Report,
    versions: Versions,
    experiment: str,
    unfinished: Path,
) -> tuple[pd.DataFrame, Figure, str]:
    """Predict the images of a source: a row for each, found = predicted + refused; a contact sheet and a page.

    Raises:
        UserError: no source is set.
        ModelError: there is no such model.
        SourceError: the source is not there, or holds no image.
    """
    if not predict.source:
        raise UserError("predict.source is not set: add --params=predict.source=FOLDER, or set it in parameters.yml")
    model = find_model(predict.model, versions, experiment)
    calibration = calibration_of(model, versions, predict.level, predict.sets)
    sentences = [str(model), calibration.told]
    logger.info("%s\n%s", *sentences)
    machine = apply(resolve(training.compute))
    request = Request(
        model.checkpoints,
        predict.source,
        machine,
        calibration.calibrated,
        predict.top_k,
        dataset.workers,
        pixels_trained_on(model, versions),
    )
    parts: list[pd.DataFrame] = []
    tally = predict_all(request, unfinished, parts.append, logger.info)
    for line in tally.lines():
        logger.info("%s", line)
    levels = model.checkpoints[0].header.levels
    sheet = pictures.contact_sheet(tally.least_sure, tally.found - tally.refused, levels)
    page = pictures.page(tally, report.title, sentences, Path("predictions.parquet"), levels)
    return pd.concat(parts, ignore_index=True), sheet, page
