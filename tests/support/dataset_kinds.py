"""One of each kind of dataset, with something to save in it."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from kedro.io import Version
from matplotlib.figure import Figure
from tiny import header

from transferlab.core.models.checkpoint import Checkpoint
from transferlab.datasets.checkpoints import CheckpointDataset, TrialsDataset
from transferlab.datasets.document import FigureDataset, JSONDataset, PageDataset
from transferlab.datasets.references import ReferencesDataset
from transferlab.datasets.table import TableDataset

OLD, NEW, OTHER = "2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z", "2026-01-03T00.00.00.000Z"
TABLE = pd.DataFrame(
    {
        "class": ["NA", "null", "Пёс", "ねこ", 'with, comma and "quote"', "two\nlines"],
        "label": np.arange(6),
        "value": [0.1, 1 / 3, 1e-300, np.nan, -0.0, 1e300],
    }
)


def checkpoint(value: float = 1.0, trial: int = 0) -> Checkpoint:
    tensors = {"weight": torch.full((2, 3), value), "count": torch.tensor(7)}
    return Checkpoint(tensors, header(classes=("NA", "ねこ"), strategy="scratch", trial=trial))


def figure() -> Figure:
    drawn = Figure(figsize=(1, 1))
    drawn.subplots().plot([1, 2])
    return drawn


def version(dataset, path: Path, save: str, load: str | None = None):
    return dataset(filepath=str(path), version=Version(load, save))


KINDS = {
    "table": (TableDataset, "table.csv", TABLE),
    "json": (JSONDataset, "facts.json", {"a": 1}),
    "figure": (FigureDataset, "figure.png", figure()),
    "page": (PageDataset, "report.html", "<p>"),
    "checkpoint": (CheckpointDataset, "initial.safetensors", checkpoint()),
    "references": (ReferencesDataset, "references.safetensors", {}),
    "trials": (TrialsDataset, "checkpoints", {0: checkpoint()}),
}
