"""Shows the predictions of new images: a contact sheet and a page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from transferlab.core.data.decoding.batch import Decoded, decode_all
from transferlab.core.data.decoding.decode import Rules
from transferlab.core.data.decoding.levels import Levels
from transferlab.core.data.store import Resize
from transferlab.pipelines.predict.tally import Tally
from transferlab.reporting.figures import samples
from transferlab.reporting.page.predictions import Answers, render_predictions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ON_SHEET, SHEET_SIZE = 48, 240  # photographs of a contact sheet, pixels of a short side
THUMBNAIL_SIZE = 180  # pixels of a short side on the page


def contact_sheet(least_sure: pd.DataFrame, predicted: int, levels: Levels | None = None) -> Figure:
    """Draw the photographs that a model is least sure of.

    Args:
        least_sure: rows of predictions, the least sure first.
        predicted: how many images were predicted in all.
        levels: of the model, for grey values of more than 8 bits.
    """
    examples = least_sure.head(ON_SHEET)
    images = _read(examples, SHEET_SIZE, levels)
    is_there = np.array([image is not None for image in images], dtype=bool)
    return samples.contact_sheet([image for image in images if image is not None], examples[is_there], predicted)


def page(tally: Tally, title: str, sentences: Sequence[str], table: Path, levels: Levels | None = None) -> str:
    """Write the page of predictions.

    Args:
        tally: what became of the images.
        title: of the experiment.
        sentences: which model predicted, and what it promises.
        table: the file with all rows.
        levels: of the model, for grey values of more than 8 bits.
    """
    images = _read(tally.least_sure, THUMBNAIL_SIZE, levels)
    thumbnails = [None if image is None else _jpeg(image) for image in images]
    return render_predictions(
        Answers(
            title,
            [*sentences, *tally.lines()],
            tally.predicted,
            tally.least_sure,
            thumbnails,
            tally.reasons,
            tally.refused,
            table.name,
        )
    )


def _read(rows: pd.DataFrame, size: int, levels: Levels | None) -> list[NDArray[np.uint8] | None]:
    """Decode the photographs again; None for one that has gone."""
    paths = [Path(path) for path in rows["path"]] if len(rows) else []
    outcomes = decode_all(paths, [Resize(size=size)], workers=0, rules=Rules(levels=levels))
    return [outcome.images[0] if isinstance(outcome, Decoded) else None for outcome in outcomes]


def _jpeg(image_HWC: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, format="JPEG", quality=85)
    return file.getvalue()
