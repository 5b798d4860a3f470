"""Launches trials in this process, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from transferlab.core.launch.launcher import Outcome, outcome
from transferlab.core.runtime.progress import ProgressCallback
from transferlab.core.training.spec import TrialSpec
from transferlab.core.training.trial import train_trial


def launch(
    specs: Sequence[TrialSpec], folder: Path, report: ProgressCallback, states: Path | None
) -> Iterator[tuple[int, Outcome]]:
    """Train the trials in order; see `Launcher`."""
    for spec in specs:
        yield spec.trial, outcome(train_trial, spec, folder, report, states)
