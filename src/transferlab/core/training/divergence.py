"""Keeps the weights that a diverged trial had after its last saved epoch, as a checkpoint that can predict.

They are not a state: going on from them would diverge again, and with a lower rate it would be another trial. The files
are `diverged/trial_<number>.safetensors` beside the folder of the states, which may be deleted to train anew. A file
stays until a trial of its number finishes, or diverges too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from transferlab.core.files.atomic import whole_file
from transferlab.core.files.folders import sweep
from transferlab.core.models import factory
from transferlab.core.models.checkpoint import on_cpu
from transferlab.core.runtime.compute import Compute
from transferlab.core.runtime.device import resolve
from transferlab.core.training.engine import CURE, DivergedError
from transferlab.core.training.history import Best, Record
from transferlab.core.training.release import is_finite, released
from transferlab.core.training.spec import TrialSpec
from transferlab.core.training.state import read, state_path

SELECTION = "last saved epoch before the loss became NaN or infinite"


def path_of(states: Path, trial: int) -> Path:
    """Return the file of a trial's last saved weights, given the folder of the states."""
    return states.with_name("diverged") / f"trial_{trial}.safetensors"


def clear(states: Path, trial: int) -> None:
    """Remove what an earlier trial of this number left: it could be taken for this one's."""
    path = path_of(states, trial)
    sweep(path.parent)
    path.unlink(missing_ok=True)


def keep_saved(spec: TrialSpec, states: Path, error: DivergedError) -> DivergedError:
    """Keep the weights of a trial's last saved epoch in place of its state; return the error, which then says so.

    Raises:
        OSError: it cannot be written; the state stays.
        StateError: the state is damaged.
    """
    file = state_path(states, spec.trial)
    if state := read(file):
        # A network on the CPU begins with the same bits as on any device.
        beginning = on_cpu(factory.fresh(spec.initial, spec.initial_seed, resolve(Compute(device="cpu"))))
        told = keep(spec, states, error, Record.unpack(state["records"][0]), {**beginning, **state["weights"]})
    else:
        told = keep(spec, states, error, Record(spec.name, spec.trial), {})
    file.unlink(missing_ok=True)
    return told


def keep(
    spec: TrialSpec, states: Path, error: DivergedError, record: Record, tensors: Mapping[str, Tensor]
) -> DivergedError:
    """Keep a trial's weights after the record's last epoch, if they are finite; return the error, which then says so.

    Args:
        spec: of the trial.
        states: the folder of the states.
        error: how the trial diverged.
        record: up to the epoch of the weights.
        tensors: the weights, on the CPU.

    Raises:
        OSError: they cannot be written.
    """
    clear(states, spec.trial)
    if record.epoch == 0:
        return DivergedError(f"{error}. No epoch of it had been saved: nothing is kept")
    checkpoint = released(spec, replace(record, best=Best()), dict(tensors), SELECTION)
    if not is_finite(checkpoint, spec.initial):
        return DivergedError(f"{error}. What it had after epoch {record.epoch} was not finite either: nothing is kept")
    path = path_of(states, spec.trial)
    with whole_file(path) as file:
        file.write(checkpoint.to_bytes())
    return DivergedError(f"{error}. What it had after epoch {record.epoch} is kept in {path}")


def at_the_end(record: Record) -> DivergedError:
    """Return the error of a trial whose last step, which no loss was measured after, has diverged."""
    rate = record.history[-1].learning_rate if record.history else 0.0
    return DivergedError(
        f"the weights after the last step of epoch {record.epoch}, or the loss measured with them, are not finite, at "
        f"learning rate {rate:.3g}; {CURE}"
    )
