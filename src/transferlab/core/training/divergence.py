"""What is kept of a trial that diverged: the weights of its last saved epoch, as a checkpoint, which alone can predict.

Not as a state: going on from one would diverge again, and with a lower rate it would be another trial's. The files are
`diverged/trial_<number>.safetensors` beside the folder of the states, which may be deleted to train anew. One stays
until a trial of its number finishes, or diverges too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from transferlab.core.files.atomic import whole_file
from transferlab.core.files.folders import sweep
from transferlab.core.models import factory
from transferlab.core.models.checkpoint import Checkpoint, on_cpu
from transferlab.core.runtime.device import Compute, resolve
from transferlab.core.training.engine import DivergedError
from transferlab.core.training.history import Best, Record
from transferlab.core.training.spec import TrialSpec
from transferlab.core.training.state import read, unpack
from transferlab.core.training.trial import released

SELECTION = "last saved epoch before the loss became NaN or infinite"


def path_of(states: Path, trial: int) -> Path:
    """Where a trial's last saved weights are kept, given the folder of the states."""
    return states.with_name("diverged") / f"trial_{trial}.safetensors"


def clear(states: Path, trial: int) -> None:
    """Remove what is kept of an earlier trial of this number: it could be taken for this one's."""
    path = path_of(states, trial)
    sweep(path.parent)
    path.unlink(missing_ok=True)


def keep_saved(spec: TrialSpec, states: Path, error: DivergedError) -> DivergedError:
    """Keep what a trial had at its last saved epoch, in place of its state; the error, which says so.

    Raises:
        OSError: it cannot be written; the state stays.
        StateError: the state is damaged.
    """
    file = states / f"trial_{spec.trial}.pt"
    if state := read(file):
        # A network on the CPU begins with the same bits as on any device.
        beginning = on_cpu(factory.fresh(spec.initial, spec.trial_seed, resolve(Compute(device="cpu"))))
        told = keep(spec, states, error, unpack(state["record"]), {**beginning, **state["network"]})
    else:
        told = keep(spec, states, error, Record(spec.name, spec.trial), {})
    file.unlink(missing_ok=True)
    return told


def keep(
    spec: TrialSpec, states: Path, error: DivergedError, record: Record, tensors: Mapping[str, Tensor]
) -> DivergedError:
    """Keep a trial's weights, on the CPU, as they were at the record's last epoch, if they are good; see `keep_saved`.

    Raises:
        OSError: they cannot be written.
    """
    clear(states, spec.trial)
    if record.epoch == 0:
        return DivergedError(f"{error}. No epoch of it had been saved: nothing is kept")
    checkpoint = released(spec, replace(record, best=Best()), dict(tensors), SELECTION)
    if not _is_good(checkpoint):
        return DivergedError(f"{error}. What it had after epoch {record.epoch} was not finite either: nothing is kept")
    path = path_of(states, spec.trial)
    with whole_file(path) as file:
        file.write(checkpoint.to_bytes())
    return DivergedError(f"{error}. What it had after epoch {record.epoch} is kept in {path}")


def _is_good(checkpoint: Checkpoint) -> bool:
    """Whether all weights are finite, and so is every loss that they were measured with."""
    losses = [figures["loss"] for figures in checkpoint.header.metrics.values()]
    return all(map(math.isfinite, losses)) and all(bool(t.isfinite().all()) for t in checkpoint.tensors.values())
