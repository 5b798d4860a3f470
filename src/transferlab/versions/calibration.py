"""Finds what the predictions of a model are calibrated on, which its evaluation has stored beside its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

from transferlab.console.commands import command
from transferlab.core.calibration.conformal import Method, realised_coverage_sd
from transferlab.core.calibration.reference import Calibrated, Reference, can_be_together
from transferlab.datasets.references import ReferencesDataset
from transferlab.reporting.wording import count
from transferlab.versions.catalogue import Versions
from transferlab.versions.models import Model

_NEITHER = "No prediction sets, and nothing is called unfamiliar"


@dataclass(frozen=True)
class Calibration:
    """What calibrates a model.

    Attributes:
        calibrated: None where there is nothing to calibrate it on.
        told: the sentence that says what it promises, or why there is none.
        references: of the model's trials, in their order; none where one is missing.
    """

    calibrated: Calibrated | None
    told: str
    references: tuple[Reference, ...] = ()


def calibration_of(model: Model, versions: Versions, level: float, method: Method) -> Calibration:
    """Return what calibrates a model.

    Args:
        model: what predicts.
        versions: what the experiment's runs have saved.
        level: the probability with which a prediction set is to hold the true class.
        method: how sets are made.

    Raises:
        DamagedError: the file is damaged.
    """
    if model.strategy is None or model.version is None:
        return Calibration(None, f"{_NEITHER}: a checkpoint file has no validation images to calibrate them on")
    measured = next(
        (m for m in versions.measured if (m.strategy, m.checkpoints) == (model.strategy, model.version)), None
    )
    name = f"{model.strategy}.references"
    dataset = versions.datasets.get(name)
    if measured is None or not isinstance(dataset, ReferencesDataset) or not versions.has(measured.metrics, name):
        evaluate = command("run", f"--env={versions.experiment}", f"--nodes={model.strategy}.evaluate")
        return Calibration(None, f"{_NEITHER}: run `{evaluate}`, which calibrates them")
    stored = dataset.read(dataset.path_of(measured.metrics))
    references = [stored[trial] for trial in model.trials if trial in stored]
    if len(references) < len(model.trials):
        return Calibration(None, f"{_NEITHER}: there are no validation images to calibrate them on (dataset.split)")
    if not can_be_together(references):
        return Calibration(
            None,
            f"{_NEITHER}: the trials have splits of their own; name one of them, e.g. {model.strategy}/trial_1",
            tuple(references),
        )
    calibrated = Calibrated.of(references, level, method)
    return Calibration(calibrated, _promise(calibrated), tuple(references))


def _promise(calibrated: Calibrated) -> str:
    sd = realised_coverage_sd(calibrated.images, calibrated.sets.level)
    return (
        f"Prediction sets hold the true class of {calibrated.sets.level:.0%} of images like the validation images "
        f"(calibrated on {count(calibrated.images)}, which leaves ±{100 * sd:.1f} points); images farther from the "
        "training images than 95% of them are called unfamiliar"
    )
