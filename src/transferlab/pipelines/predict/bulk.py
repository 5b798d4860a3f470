"""Predicts many images in bounded memory, for the command and the pipeline alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from transferlab.console import progress
from transferlab.core.evaluation.metrics import scores
from transferlab.core.inference.predict import Prediction, predict_items, table
from transferlab.core.inference.sources import find_images
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.runtime.device import Machine
from transferlab.reporting.wording import count, number, title

ROWS = 1000  # of a part of the table


@dataclass
class Tally:
    """What became of the images.

    Attributes:
        found: how many there were.
        refused: how many of them could not be used.
        p_BK: probabilities of the images whose label is known, a part of the table each; they are kept for the metrics.
        truth_B: their labels.
    """

    found: int = 0
    refused: int = 0
    p_BK: list[NDArray[np.float64]] = field(default_factory=list)
    truth_B: list[NDArray[np.int64]] = field(default_factory=list)

    def add(self, part: Sequence[Prediction], classes: Sequence[str]) -> None:
        """Count a part."""
        self.found += len(part)
        self.refused += sum(one.probabilities is None for one in part)
        known = [(one.probabilities, one.label) for one in part if one.probabilities is not None and one.label]
        if known:
            self.p_BK.append(np.stack([p_K for p_K, _ in known]))
            self.truth_B.append(np.array([classes.index(label) for _, label in known]))

    def lines(self) -> Iterator[str]:
        """Say the metrics, where labels are known, and how many images were predicted and refused."""
        if self.truth_B:
            measured = scores(np.concatenate(self.p_BK), np.concatenate(self.truth_B))
            told = ", ".join(f"{title(name)} {number(value, name)}" for name, value in measured.items())
            yield f"Measured on {count(sum(map(len, self.truth_B)), 'labelled image')}: {told}"
        predicted = self.found - self.refused
        yield f"{count(self.found, 'image')} found: {count(predicted)} predicted, {count(self.refused)} refused"


def predict_all(
    checkpoints: Sequence[Checkpoint],
    sources: Sequence[str],
    machine: Machine,
    write: Callable[[pd.DataFrame], None],
    top_k: int = 3,
    workers: int | None = None,
) -> Tally:
    """Predict all images of the sources, and write the table in parts.

    Args:
        checkpoints: those whose probabilities are averaged.
        sources: see `find_images`.
        machine: where to compute.
        write: takes each part of the table; see `transferlab.core.inference.predict.table`.
        top_k: how many classes to name.
        workers: processes that decode; by default one per CPU.

    Raises:
        SourceError: a source is not there, or holds no image.
        CheckpointError: a checkpoint does not fit the network that it names.
        EnsembleError: the classes of the checkpoints differ.
    """
    classes = checkpoints[0].header.classes
    items = find_images(sources, classes)
    has_labels = any(item.label for item in items)
    predictions = predict_items(checkpoints, items, machine, workers)
    tally = Tally()
    with progress.counting("predicting") as report:
        while part := list(islice(predictions, ROWS)):
            write(table(part, classes, top_k, has_labels))
            tally.add(part, classes)
            report(tally.found, len(items))
    return tally
