"""All trials of a strategy: their heads together where that is all there is to train, else one after the other."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from transferlab.core import diverged, together
from transferlab.core.engine import DivergedError
from transferlab.core.launch import launch
from transferlab.core.spec import Report, TrialResult, TrialSpec

logger = logging.getLogger(__name__)


def train_trials(
    specs: Sequence[TrialSpec], folder: Path, report: Report, states: Path | None = None
) -> dict[int, TrialResult]:
    """Train the trials of a strategy, or go on with those that were interrupted; the results by number.

    A trial that diverges is left out, with an error in the log, and the others go on. Its last good weights are kept
    beside `states` (see `diverged`) until a trial of its number finishes. Arguments as in `train_trial`.

    Raises:
        DeviceError: there are fewer devices than `training.compute.devices`.
        DeviceMemoryError: the device has too little memory.
        DivergedError: every trial diverged.
        OSError: a file cannot be written, such as for lack of space.
        PolicyError: a stage's policy does not fit the network.
        StateError: `states` holds a state that is damaged or of another trial.
    """
    outcomes = together.train(specs, folder, report, states) if together.could_train(specs) else None
    outcomes = outcomes or {spec.trial: _outcome(spec, folder, report, states) for spec in specs}
    failures = {number: outcome for number, outcome in outcomes.items() if isinstance(outcome, DivergedError)}
    for number, error in failures.items():
        logger.error("%s: trial %d of %d stopped: %s", specs[0].name, number + 1, len(specs), error)
    if len(failures) == len(specs):
        raise next(iter(failures.values()))
    finished = {number: outcome for number, outcome in outcomes.items() if isinstance(outcome, TrialResult)}
    if states:
        for number in finished:
            diverged.clear(states, number)
    return finished


def _outcome(spec: TrialSpec, folder: Path, report: Report, states: Path | None) -> TrialResult | DivergedError:
    try:
        return launch(spec, folder, report, states)
    except DivergedError as error:
        return diverged.keep_saved(spec, states, error) if states else error
