"""Finds what the predictions of a model are calibrated on, which its evaluation has stored beside its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

from transferlab.console.commands import command
from transferlab.core.calibration.conformal import Method, fewest_images, realised_coverage_sd
from transferlab.core.calibration.reference import Calibrated, Reference, can_be_together
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
        versions: of the experiment, for messages.
        level: the probability with which a prediction set is to hold the true class.
        method: how sets are made.
    """
    if not model.trials:
        return Calibration(None, f"{_NEITHER}: a checkpoint file has no validation images to calibrate them on")
    if model.references is None:
        if model.strategy is None:
            return Calibration(None, f"{_NEITHER}: it was published without an evaluation, which calibrates them")
        evaluate = command("run", f"--env={versions.experiment}", f"--nodes={model.strategy}.evaluate")
        return Calibration(None, f"{_NEITHER}: run `{evaluate}`, which calibrates them")
    references = [model.references[trial] for trial in model.trials if trial in model.references]
    if len(references) < len(model.trials):
        return Calibration(None, f"{_NEITHER}: there are no validation images to calibrate them on (dataset.split)")
    if not can_be_together(references):
        return Calibration(
            None,
            f"{_NEITHER}: the trials have splits of their own; name one of them, with /trial_1 after it",
            tuple(references),
        )
    calibrated = Calibrated.of(references, level, method)
    return Calibration(calibrated, _promise(calibrated), tuple(references))


def _promise(calibrated: Calibrated) -> str:
    images, level = calibrated.images, calibrated.sets.level
    unfamiliar = "images farther from the training images than 95% of them are called unfamiliar"
    if images < fewest_images(level):
        return (
            f"Prediction sets hold every class: sets of {level:.0%} take {fewest_images(level)} validation images, and "
            f"there are {images}; {unfamiliar}"
        )
    return (
        f"Prediction sets hold the true class of {level:.0%} of images like the validation images "
        f"(calibrated on {count(images)}, which leaves ±{100 * realised_coverage_sd(images, level):.1f} points); "
        f"{unfamiliar}"
    )
