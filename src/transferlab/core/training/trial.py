"""Trains one trial: one seed of one strategy.

`train_trial(spec, folder, report, states) -> result` takes and returns plain picklable values and imports torch only,
so any launcher (another process, another machine) can run it; several processes may run it together as ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from transferlab.core.models import factory
from transferlab.core.models.checkpoint import on_cpu
from transferlab.core.runtime.device import Machine, apply, resolve
from transferlab.core.runtime.progress import ProgressCallback
from transferlab.core.training import compilation, distributed, head_start
from transferlab.core.training.engine import DivergedError
from transferlab.core.training.fingerprint import fingerprint
from transferlab.core.training.learners import OneNetwork
from transferlab.core.training.spec import TrialResult, TrialSpec
from transferlab.core.training.stage_inputs import Inputs
from transferlab.core.training.stages import Training
from transferlab.core.training.state import StateFile, state_path


def train_trial(spec: TrialSpec, folder: Path, report: ProgressCallback, states: Path | None = None) -> TrialResult:
    """Train one trial, or go on with one that was interrupted.

    Args:
        spec: what to train.
        folder: keeps features of frozen prefixes between trials and runs.
        report: called after each step and epoch.
        states: the folder of the states of this strategy's unfinished trials; None keeps none.

    Raises:
        DeviceMemoryError: the device has too little memory.
        DivergedError: the loss or the weights became NaN or infinite.
        PolicyError: a stage's policy does not fit the network.
        StateError: `states` holds a state that is damaged or of another trial.
    """
    machine = apply(resolve(spec.compute))
    network = factory.fresh(spec.initial, spec.initial_seed, machine, spec.strategy.model.drop_path)
    drawn = on_cpu(network) if states else None
    head_start.begin(network, spec, machine, folder)
    network = distributed.synchronized(network)
    file = state_file(states, [spec], machine, network) if states else None
    learner = OneNetwork(network, drawn)
    inputs = Inputs(spec, spec.initial.header.view, machine, folder, report)
    (outcome,) = Training([spec], machine, learner, inputs, report, file).run()
    if isinstance(outcome, DivergedError):
        raise outcome
    return outcome


def state_file(states: Path, specs: Sequence[TrialSpec], machine: Machine, network: nn.Module) -> StateFile:
    """Return the file of the state that these trials share, under the number of the first."""
    compiled = compilation.compiled_stages(specs[0], machine, network)
    depends_on = fingerprint(specs[0], machine, compiled, len(specs))
    return StateFile(state_path(states, specs[0].trial), depends_on, list(specs[0].strategy.stages))
