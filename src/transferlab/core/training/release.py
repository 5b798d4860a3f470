"""Makes the checkpoint that a trial leaves, and checks that it is fit to be used."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

import transferlab
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.training.history import Record
from transferlab.core.training.spec import TrialSpec


def released(spec: TrialSpec, record: Record, tensors: dict[str, Tensor], selection: str) -> Checkpoint:
    """Return a trial's weights, those of the record's selected epoch, as a checkpoint that says what they are."""
    header = replace(
        spec.initial.header,
        strategy=spec.name,
        trial=spec.trial,
        seed=spec.seed,
        selection=selection,
        epoch=record.selected_epoch,
        metrics=record.metrics(spec.decides_by),
        versions={"transferlab": transferlab.__version__, "torch": torch.__version__},
        recipe=spec.strategy.to_json(),
        trained_on=spec.train.contents,
    )
    return Checkpoint(tensors, header)


def is_finite(checkpoint: Checkpoint, initial: Checkpoint) -> bool:
    """Check that all weights are finite, and so is every loss that was measured with them.

    Some networks have constants that are infinite from the start, such as masks.
    """
    losses = [figures["loss"] for figures in checkpoint.header.metrics.values()]
    infinite = {name for name, tensor in initial.tensors.items() if not tensor.isfinite().all()}
    finite = (bool(tensor.isfinite().all()) for name, tensor in checkpoint.tensors.items() if name not in infinite)
    return all(map(math.isfinite, losses)) and all(finite)
