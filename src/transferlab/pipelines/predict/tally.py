"""Counts what became of predicted images, part by part of the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from transferlab.core.metrics import scores
from transferlab.reporting.figures.samples import least_sure
from transferlab.reporting.wording import count, number, title

SHOWN = 120  # images on the page, and refused files


@dataclass
class Tally:
    """What became of the images.

    Attributes:
        classes: of the model.
        found: how many images there were.
        refused: how many of them could not be used.
        unfamiliar: how many are unfamiliar; None where that is not known.
        trained_on: how many of those with a label are training images of the model, as far as that is known.
        predicted: how many were predicted as each class.
        least_sure: the rows of the least sure predictions, the least sure first.
        reasons: the first rows of refused files.
        p_BK: probabilities of the images whose label is known, a part of the table each; they are kept for the metrics.
        truth_B: their labels.
    """

    classes: Sequence[str]
    found: int = 0
    refused: int = 0
    unfamiliar: int | None = None
    trained_on: int = 0
    predicted: Counter[str] = field(default_factory=Counter)
    least_sure: pd.DataFrame = field(default_factory=pd.DataFrame)
    reasons: pd.DataFrame = field(default_factory=pd.DataFrame)
    p_BK: list[NDArray[np.float64]] = field(default_factory=list)
    truth_B: list[NDArray[np.int64]] = field(default_factory=list)

    def add(self, part: pd.DataFrame) -> None:
        """Count a part."""
        is_refused = part["prediction"].isna()
        self.found += len(part)
        self.refused += int(is_refused.sum())
        self.predicted.update(part.loc[~is_refused, "prediction"])
        if "unfamiliar" in part.columns:
            self.unfamiliar = (self.unfamiliar or 0) + int((part["unfamiliar"] == "yes").sum())
        self.least_sure = least_sure(pd.concat([self.least_sure, part[~is_refused]]), SHOWN)
        self.reasons = pd.concat([self.reasons, part.loc[is_refused, ["path", "reason"]]]).head(SHOWN)
        if "label" in part.columns:
            known = part[~is_refused & part["label"].notna()]
            if "trained_on" in part.columns:
                self.trained_on += int((known["trained_on"] == "yes").sum())
            self.p_BK.append(known[[f"p_{name}" for name in self.classes]].to_numpy(dtype=float))
            label_of = {name: label for label, name in enumerate(self.classes)}
            self.truth_B.append(np.array([label_of[name] for name in known["label"]], dtype=np.int64))

    def lines(self) -> Iterator[str]:
        """Say the metrics, where labels are known, and how many images were predicted, refused and unfamiliar."""
        if labelled := sum(map(len, self.truth_B)):
            measured = scores(np.concatenate(self.p_BK), np.concatenate(self.truth_B))
            told = ", ".join(f"{title(name)} {number(value, name)}" for name, value in measured.items())
            seen = f" ({count(self.trained_on)} of which it was trained on)" if self.trained_on else ""
            yield f"Measured on {count(labelled, 'labelled image')}{seen}: {told}"
        predicted = count(self.found - self.refused)
        strange = "" if self.unfamiliar is None else f"; {count(self.unfamiliar)} unfamiliar"
        yield f"{count(self.found, 'image')} found: {predicted} predicted, {count(self.refused)} refused{strange}"
