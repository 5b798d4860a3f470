"""What tables hold: the columns that every version of a table has, and that whoever reads it counts on."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd


class Columns(NamedTuple):
    """The columns of a kind of table.

    Attributes:
        text: those of any content.
        numbers: those that hold numbers, or nothing.
    """

    text: tuple[str, ...]
    numbers: tuple[str, ...] = ()


_LISTED = ("path", "class", "split", "stratify")
_LEFT_OUT = Columns(("path", "status", "reason"))
_ACCEPTED = Columns((*_LISTED, "pixel_sha256"), ("width", "height"))
_INDEX = Columns(_ACCEPTED.text, (*_ACCEPTED.numbers, "label"))
COLUMNS = {
    "listing": Columns(_LISTED),
    "left_out": _LEFT_OUT,
    "accepted": _ACCEPTED,
    "index": _INDEX,
    "duplicates": Columns(("path_a", "class_a", "split_a", "path_b", "class_b", "split_b", "kind"), ("distance",)),
    "summary": Columns(("layer", "type", "shape"), ("parameters",)),
    "history": Columns(("strategy", "stage", "split"), ("trial", "epoch", "loss", "accuracy", "learning_rate")),
    "steps": Columns(("strategy", "stage"), ("trial", "epoch", "step", "learning_rate", "loss")),
    "cost": Columns(("strategy", "device"), ("trial", "total_parameters", "trainable_parameters", "epochs", "seconds")),
    "predictions": Columns(("strategy", "path", "truth", "prediction"), ("trial",)),
    "metrics": Columns(("strategy", "split", "selection", "metric"), ("trial", "value")),
    "per_class": Columns(("class", "strategy"), ("precision", "recall", "f1", "support", "trial")),
    "confusion": Columns(("truth", "prediction", "strategy"), ("count", "trial")),
    "coverage": Columns(("method", "strategy"), ("level", "coverage", "set_size", "trial")),
    "together": Columns(("kind", "metric", "strategy"), ("value", "members", "single", "difference")),
    "comparison": Columns(("strategy", "metric", "selection"), ("mean", "low", "high", "trials")),
    "differences": Columns(("strategy", "versus", "metric"), ("difference", "low", "high")),
}


def check_columns(table: pd.DataFrame, kind: Columns) -> None:
    """Check that a table has the columns of its kind, and numbers where they belong.

    Raises:
        ValueError: names the column.
    """
    for name in (*kind.text, *kind.numbers):
        if name not in table.columns:
            raise ValueError(f"it has no column {name!r}, but {[str(column) for column in table.columns[:8]]}")
    for name in kind.numbers:
        if not pd.api.types.is_numeric_dtype(table[name]) and table[name].notna().any():
            raise ValueError(f"its column {name!r} must hold numbers, not {table[name].dropna().iloc[0]!r}")
