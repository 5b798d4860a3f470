"""Tells whoever started a training how far it is."""

from __future__ import annotations

from transferlab.core.runtime.progress import Progress, ProgressCallback
from transferlab.core.strategies.strategy import Strategy
from transferlab.core.training.history import EpochResult, Record


class TrainingProgress:
    """Reports each step, and what each epoch has measured.

    Args:
        strategy: whose stages are trained.
        together: how many trials train in the same steps.
        report: what to call.
    """

    def __init__(self, strategy: Strategy, together: int, report: ProgressCallback) -> None:
        self._stages, self._together, self._report = strategy.stages, together, report

    def after_step(self, record: Record, stage: str, step: int, steps: int) -> None:
        """Report a step of the epoch that comes after those recorded."""
        epochs = self._epochs(record, stage)
        self._report(Progress(record.trial, stage, record.epoch + 1, epochs, step, steps, together=self._together))

    def after_epoch(self, record: Record, stage: str, result: EpochResult, held_out: float | None) -> None:
        """Report the figures of a trial's epoch, with the held-out accuracy if there is one."""
        steps, epochs = len(result.losses), self._epochs(record, stage)
        figures = result.loss, result.accuracy, held_out
        self._report(Progress(record.trial, stage, record.epoch, epochs, steps, steps, *figures))

    def _epochs(self, record: Record, name: str) -> int:
        """Return how many epochs the training has in all, as far as is known in a stage."""
        stage, later = self._stages[name], list(self._stages)[list(self._stages).index(name) + 1 :]
        is_over = stage.is_over(record.stage_epoch, record.stage_scores)
        own = record.stage_epoch if is_over else stage.epochs
        return record.epoch - record.stage_epoch + own + sum(self._stages[each].epochs for each in later)
