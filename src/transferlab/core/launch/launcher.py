"""The interface that every launcher implements: take specs, report progress, yield outcomes.

Inline, pool, elastic and ray_launcher are launchers. Specs and outcomes are plain values that survive a pickle,
`folder` and `states` are folders that a launcher shares with its workers, and a trial that is launched again goes on at
its last saved epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from transferlab.core.runtime.progress import Progress, ProgressCallback
from transferlab.core.training import divergence
from transferlab.core.training.engine import DivergedError
from transferlab.core.training.spec import TrialResult, TrialSpec

Outcome = TrialResult | DivergedError


class Launcher(Protocol):
    """Trains trials wherever it likes."""

    def __call__(
        self, specs: Sequence[TrialSpec], folder: Path, report: ProgressCallback, states: Path | None
    ) -> Iterator[tuple[int, Outcome]]:
        """Yield the number and outcome of each trial as soon as it ends, in any order.

        When the iterator is closed, or an error leaves it, every worker has saved what it could and has ended.

        Args:
            specs: trials of one strategy.
            folder: see `train_trial`.
            report: called in this process and thread, whichever process trains.
            states: see `train_trial`.

        Raises:
            Exception: what a trial raised, but for DivergedError, which is an outcome.
        """


class TrainTrial(Protocol):
    """Trains one trial: `train_trial`, or the same on several devices."""

    def __call__(
        self, spec: TrialSpec, folder: Path, report: ProgressCallback, states: Path | None = None
    ) -> TrialResult:
        """Train; see `train_trial`."""


def outcome(train: TrainTrial, spec: TrialSpec, folder: Path, report: ProgressCallback, states: Path | None) -> Outcome:
    """Train a trial; if it diverges, keep its last saved weights beside `states` and return how it diverged."""
    try:
        return train(spec, folder, report, states)
    except DivergedError as error:
        epochs = spec.strategy.epochs
        report(Progress(spec.trial, list(spec.strategy.stages)[-1], epochs, epochs, 1, 1))  # it has come to its end
        return divergence.keep_saved(spec, states, error) if states else error
