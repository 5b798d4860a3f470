"""Progress of a trial, as it is reported to whoever started it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Where a trial is; the figures are None until the epoch's end.

    `together` trials, from `trial` on, are trained in the same steps. `doing` names work beside the steps of an epoch,
    such as computing features; `step` then counts what it counts.
    """

    trial: int
    stage: str
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float | None = None
    accuracy: float | None = None
    held_out_accuracy: float | None = None
    doing: str | None = None
    together: int = 1


ProgressCallback = Callable[[Progress], None]
