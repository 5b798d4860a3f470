"""The nodes of the predict pipeline."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from transferlab.config.schema import Dataset, Predict, Training
from transferlab.console.errors import UserError
from transferlab.core.data.decoding.batch import Decoded, decode_all
from transferlab.core.data.store import Resize
from transferlab.core.runtime.device import apply, resolve
from transferlab.pipelines.predict.bulk import predict_all
from transferlab.reporting.figures import samples
from transferlab.versions.catalogue import Versions
from transferlab.versions.models import find_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)
SHOWN, SIZE = 48, 240  # photographs of a contact sheet, pixels of a short side


def predict_source(
    predict: Predict, training: Training, dataset: Dataset, versions: Versions, experiment: str
) -> pd.DataFrame:
    """Predict the images of a source: a row for each, found = predicted + refused.

    Raises:
        UserError: no source is set.
        ModelError: there is no such model.
        SourceError: the source is not there, or holds no image.
    """
    if not predict.source:
        raise UserError("predict.source is not set: add --params=predict.source=FOLDER, or set it in parameters.yml")
    model = find_model(predict.model, versions, experiment)
    logger.info("%s", model)
    parts: list[pd.DataFrame] = []
    tally = predict_all(
        model.checkpoints,
        predict.source,
        apply(resolve(training.compute)),
        parts.append,
        predict.top_k,
        dataset.workers,
    )
    for line in tally.lines():
        logger.info("%s", line)
    return pd.concat(parts, ignore_index=True)


def draw_contact_sheet(predictions: pd.DataFrame) -> Figure:
    """Draw the photographs that the model is least sure of."""
    examples = samples.least_sure(predictions, SHOWN)
    paths = [Path(path) for path in examples["path"]]
    outcomes = list(decode_all(paths, [Resize(size=SIZE)], workers=0))
    is_there = np.array([isinstance(outcome, Decoded) for outcome in outcomes], dtype=bool)
    images = [outcome.images[0] for outcome in outcomes if isinstance(outcome, Decoded)]
    return samples.contact_sheet(images, examples[is_there], int(predictions["prediction"].notna().sum()))
