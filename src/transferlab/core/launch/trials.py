"""Trains all trials of a strategy with the launcher that the config asks for.

Linear heads on shared features train together: in this process, or as one task of a cluster.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from transferlab.core.launch import elastic, inline, pool, ray_cluster, ray_launcher
from transferlab.core.launch.launcher import Launcher, Outcome
from transferlab.core.runtime.device import Machine, resolve
from transferlab.core.runtime.progress import ProgressCallback
from transferlab.core.training import divergence, together
from transferlab.core.training.engine import DivergedError
from transferlab.core.training.fingerprint import Fingerprint, fingerprint, sha256_of_checkpoint
from transferlab.core.training.spec import TrialResult, TrialSpec

logger = logging.getLogger(__name__)


def train_trials(
    specs: Sequence[TrialSpec],
    folder: Path,
    report: ProgressCallback,
    states: Path | None = None,
    launch: Launcher | None = None,
) -> dict[int, TrialResult]:
    """Train the trials of a strategy, or go on with those that were interrupted; return the results by number.

    A trial that diverges is left out with an error in the log, and the others go on. Its last good weights are kept
    beside `states` (see `divergence`) until a trial of its number finishes.

    Args:
        specs: of the trials.
        folder: see `train_trial`.
        report: likewise.
        states: likewise.
        launch: the queue that they are in (see `queued`); by default they are launched as the config says.

    Raises:
        ClusterError: the cluster cannot be joined, or its nodes differ.
        DeviceError: there are fewer devices than `training.compute.devices`.
        DeviceMemoryError: the device has too little memory.
        DivergedError: every trial diverged.
        OSError: a file cannot be written, such as for lack of space.
        PolicyError: a stage's policy does not fit the network.
        RankError: a process of a trial was killed.
        StateError: `states` holds a state that is damaged or of another trial.
    """
    outcomes = (
        _in_order(specs, launch(specs, folder, report, states)) if launch else _outcomes(specs, folder, report, states)
    )
    failures = {number: found for number, found in outcomes.items() if isinstance(found, DivergedError)}
    for number, error in failures.items():
        logger.error("%s: trial %d of %d stopped: %s", specs[0].name, number + 1, len(specs), error)
    if len(failures) == len(specs):
        raise next(iter(failures.values()))
    finished = {number: found for number, found in outcomes.items() if isinstance(found, TrialResult)}
    if states:
        for number in finished:
            divergence.clear(states, number)
    return finished


def queued(
    strategies: Sequence[Sequence[TrialSpec]],
    folder: Path,
    states: Sequence[Path],
    report: Callable[[str], ProgressCallback],
) -> Launcher:
    """Begin to train the trials of several strategies at the same time, on a cluster; return what waits for them.

    Args:
        strategies: trials of each.
        folder: see `train_trial`.
        states: of each strategy; see `train_trial`.
        report: returns what is to be told of a strategy's trials before somebody waits for them.

    Raises:
        ClusterError: the cluster cannot be joined, or its nodes differ.
    """
    batches = [ray_launcher.Batch(specs, folder, own) for specs, own in zip(strategies, states, strict=True)]
    return ray_launcher.Queue(batches, report).launch


def fingerprints(specs: Sequence[TrialSpec]) -> dict[int, Fingerprint]:
    """Return by number what each trial's result depends on, if `train_trials` trains them: equal ones, equal bits."""
    alone = _alone(specs)
    are_together = together.could_train(alone)
    machine, sha256 = _machine(specs, are_together), sha256_of_checkpoint(specs[0].initial)
    compiled = dict.fromkeys(specs[0].strategy.stages, machine.compile)
    count = len(specs) if are_together else 1
    return {spec.trial: fingerprint(spec, machine, compiled, count, sha256) for spec in specs}


def _machine(specs: Sequence[TrialSpec], are_together: bool) -> Machine:
    """Return the machine that each trial trains on."""
    compute = specs[0].compute
    if compute.launcher == "ray":
        return ray_cluster.machine_of(ray_cluster.compute_of_each(compute))
    if _in_pool(specs) and not are_together:
        compute = pool.compute_of_each(compute, len(specs))
    return resolve(compute)


def _alone(specs: Sequence[TrialSpec]) -> list[TrialSpec]:
    """Return trials as they train in this process, one after the other."""
    return [replace(spec, compute=replace(spec.compute, parallel_trials=1)) for spec in specs]


def _in_pool(specs: Sequence[TrialSpec]) -> bool:
    """Return whether trials train in processes beside each other; the last one left has its share of threads too."""
    return specs[0].compute.parallel_trials > 1


def _outcomes(
    specs: Sequence[TrialSpec], folder: Path, report: ProgressCallback, states: Path | None
) -> Mapping[int, Outcome]:
    """Return the outcome of every trial, in the order of `specs`."""
    if specs[0].compute.launcher == "ray":
        return _in_order(specs, ray_launcher.launch(specs, folder, report, states))
    here = _alone(specs)
    if together.could_train(here) and (found := together.train(here, folder, report, states)) is not None:
        return found
    in_pool = _in_pool(specs)
    launch: Launcher = pool.launch if in_pool else elastic.launch if specs[0].compute.devices > 1 else inline.launch
    return _in_order(specs, launch(specs if in_pool else here, folder, report, states))


def _in_order(specs: Sequence[TrialSpec], outcomes: Iterable[tuple[int, Outcome]]) -> Mapping[int, Outcome]:
    found = dict(outcomes)
    return {spec.trial: found[spec.trial] for spec in specs}
