"""Renders the predictions of new photographs: one self-contained page without scripts, the least sure first."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from transferlab.reporting.page.grid import Cell, Grid, grid
from transferlab.reporting.page.page import environment
from transferlab.reporting.wording import count


@dataclass(frozen=True)
class Answers:
    """What the page says.

    Attributes:
        title: of the experiment.
        sentences: which model, what it promises, how many images.
        predicted: how many images were predicted as each class.
        least_sure: rows of predictions, the least sure first.
        thumbnails: JPEG bytes of each of them; None where it cannot be read again.
        reasons: path and reason of refused files.
        refused: how many there are in all.
        table: the file with all rows.
    """

    title: str
    sentences: Sequence[str]
    predicted: Mapping[str, int]
    least_sure: pd.DataFrame
    thumbnails: Sequence[bytes | None]
    reasons: pd.DataFrame
    refused: int
    table: str


@dataclass(frozen=True)
class _Card:
    file: str
    path: str
    picture: str
    prediction: str
    probability: str
    notes: tuple[str, ...]
    is_wrong: bool


def render_predictions(answers: Answers) -> str:
    """Write the page: HTML with styles inline and pictures as data URIs, which asks nobody for anything."""
    total = sum(answers.predicted.values())
    rows = answers.least_sure.to_dict("records")
    return (
        environment()
        .get_template("predictions.html.j2")
        .render(
            answers=answers,
            counts=_counts(answers.predicted),
            cards=[_card(row, jpeg) for row, jpeg in zip(rows, answers.thumbnails, strict=True)],
            total=total,
        )
    )


def _counts(predicted: Mapping[str, int]) -> Grid:
    total = max(1, sum(predicted.values()))
    ordered = sorted(predicted.items(), key=lambda item: (-item[1], item[0]))
    return grid(["Photographs", "Share"], [(name, [Cell(count(n)), Cell(f"{n / total:.1%}")]) for name, n in ordered])


def _card(row: Mapping[str, object], jpeg: bytes | None) -> _Card:
    label, notes = row.get("label"), []
    is_wrong = isinstance(label, str) and label != row["prediction"]
    if is_wrong:
        notes.append(f"labelled {label}")
    if isinstance(row.get("prediction_2"), str):
        notes.append(f"else {row['prediction_2']} {row['probability_2']:.0%}")
    if isinstance(row.get("prediction_set"), str):
        notes.append(f"may be: {row['prediction_set'] or 'none of the classes'}")
    if row.get("unfamiliar") == "yes":
        notes.append("unfamiliar")
    uri = "" if jpeg is None else "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
    path = str(row["path"])
    return _Card(
        "/".join(path.split("/")[-2:]),
        path,
        uri,
        str(row["prediction"]),
        f"{row['probability']:.1%}",
        tuple(notes),
        is_wrong,
    )
