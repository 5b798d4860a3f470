"""Trains a trial in this process and reports a divergence as a result."""

from __future__ import annotations

from pathlib import Path

from transferlab.core.launch.elastic import launch
from transferlab.core.runtime.progress import Progress, ProgressCallback
from transferlab.core.training import divergence
from transferlab.core.training.engine import DivergedError
from transferlab.core.training.spec import TrialResult, TrialSpec


def outcome(
    spec: TrialSpec, folder: Path, report: ProgressCallback, states: Path | None = None
) -> TrialResult | DivergedError:
    """What `launch` gives, or how the trial diverged, its last good weights kept beside `states`."""
    try:
        return launch(spec, folder, report, states)
    except DivergedError as error:
        epochs = spec.strategy.epochs
        report(Progress(spec.trial, list(spec.strategy.stages)[-1], epochs, epochs, 1, 1))  # it has come to its end
        return divergence.keep_saved(spec, states, error) if states else error
