"""Faults that other commands make, from the results that they wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from benchmarks import kills
from benchmarks.faults.row import NOTHING, Row


def rows(_: np.random.Generator) -> Iterator[Row]:
    """Read what `python -m benchmarks.kills` found."""
    found = json.loads(kills.RESULT.read_text(encoding="utf-8"))
    total, others = found["trainings"], found["with other bits"]
    yield Row(
        f"training process killed (SIGKILL) at a random moment and begun again, {total} trainings "
        f"(`python -m benchmarks.kills --kills {found['kills']}`)",
        found["kills"],
        f"{total - others} of {total} ended with the bits of a training that was never killed",
        f"{others} trainings" if others else NOTHING,
    )
