"""Finds the trained networks that a user means by MODEL: a strategy of an experiment, or a checkpoint file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from transferlab.console.commands import command
from transferlab.core.calibration.reference import Reference
from transferlab.core.data.split.index import splits_of_trial
from transferlab.core.errors import MendableError
from transferlab.core.evaluation.contributions import Outcomes
from transferlab.core.evaluation.design import BY_ACCURACY, Design
from transferlab.core.evaluation.intervals import of_metric
from transferlab.core.files.remote import is_url
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.validation import did_you_mean
from transferlab.datasets.atomic import WholeFile
from transferlab.datasets.checkpoints import StoredTrials
from transferlab.datasets.references import ReferencesDataset
from transferlab.datasets.table import TableDataset
from transferlab.reporting.recommendation import recommend
from transferlab.reporting.wording import count, interval, number, title
from transferlab.versions.catalogue import Versions
from transferlab.versions.fetch import models_at

RECOMMENDED = "recommended"
FORMS = "recommended, STRATEGY, STRATEGY@VERSION, either with /trial_N, a checkpoint file, or a published version's URL"
Loaded = TypeVar("Loaded")
_NAME = re.compile(r"(?P<strategy>[^@/]+)(@(?P<version>[^/]+))?(/trial_(?P<trial>\d+))?")


class ModelError(MendableError):
    """A MODEL that is not there."""


@dataclass(frozen=True)
class Accuracy:
    """Test accuracy of single trials: the mean, and the 95% interval over trials and test images."""

    mean: float
    low: float
    high: float
    trials: int
    images: int

    def __str__(self) -> str:
        each = "" if self.trials == 1 else f", mean of {count(self.trials, 'single trial')}"
        figure = f"{number(self.mean, 'accuracy')} {interval(self.low, self.high, 'accuracy')}".rstrip()
        return f"{figure} ({count(self.images, 'test image')}{each})"


@dataclass(frozen=True)
class Model:
    """Trained networks to use.

    Attributes:
        checkpoints: those whose probabilities are averaged.
        name: how messages call it.
        reason: why it was chosen; empty where the user named it.
        strategy: its strategy; None where it is not one of the experiment: a checkpoint file, or published.
        version: of the strategy's checkpoints; None where there is no strategy.
        trials: numbers of its trials, from 0; none of a checkpoint file.
        accuracy: None where it was not measured.
        references: by trial, what predictions are calibrated on; None where it was not measured.
    """

    checkpoints: tuple[Checkpoint, ...]
    name: str
    reason: str = ""
    strategy: str | None = None
    version: str | None = None
    trials: tuple[int, ...] = ()
    accuracy: Accuracy | None = None
    references: Mapping[int, Reference] | None = None

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        members = len(self.checkpoints)
        averaged = f"; the mean of {members} trials, at {members} times the cost of one" if members > 1 else ""
        accuracy = f"test accuracy {self.accuracy}" if self.accuracy else "test accuracy unknown"
        return f"Model: {self.name}{reason}{averaged}; {accuracy}"


def find_model(wanted: str, versions: Versions, experiment: str, together: bool = True) -> Model:
    """Return the networks that a user means.

    Args:
        wanted: one of `FORMS`. Trials are counted from 1, as in the report.
        versions: what the experiment's runs have saved.
        experiment: its name, for messages.
        together: take all trials of a strategy, unless one is named; else the first one.

    Raises:
        ModelError: there are none; says what there is.
        CheckpointError: a file is damaged.
        PublishError: no such version is published at the URL, or a file of it is damaged.
        RemoteError: the URL cannot be read.
        UserError: a table of metrics is damaged.
    """
    if is_url(wanted):
        with models_at(wanted) as (published, of, meant):
            found = find_model(meant, published, of, together)
            return replace(found, name=f"{found.name} of {wanted}", strategy=None, version=None)
    match = _NAME.fullmatch(wanted)
    if not match or match["strategy"] not in (RECOMMENDED, *versions.strategies):
        if Path(wanted).is_file():
            return Model((Checkpoint.read(Path(wanted)),), wanted)
        known = [RECOMMENDED, *versions.strategies]
        near = did_you_mean(match["strategy"] if match else wanted, known) or f"; known are {', '.join(known)}"
        raise ModelError(f"MODEL {wanted!r} is no strategy of {experiment} and no file{near} (MODEL is {FORMS})")
    strategy, version, reason = match["strategy"], match["version"], ""
    if strategy == RECOMMENDED:
        strategy, reason = _recommended(versions, experiment)
    there = _finished(versions, strategy)
    if not there:
        raise ModelError(f"{strategy} has no finished trials: {_train(experiment, f'--namespaces={strategy}')}")
    if version and version not in there:
        near = did_you_mean(version, there) or f"; there are {', '.join(there)}"
        raise ModelError(f"{strategy} has no version {version!r}{near}")
    version = version or (_measured_version(versions, strategy, there) if reason else there[0])
    trials = _trials(versions, strategy, version)
    if match["trial"] or not together:
        trials = _one(trials, int(match["trial"] or min(trials) + 1), strategy, version)
    numbers = f", trial {min(trials) + 1}" if len(trials) == 1 else ""
    name = f"{title(strategy)}@{version}{numbers}"
    accuracy = _accuracy(versions, strategy, version, tuple(trials))
    references = stored_references(versions, strategy, version)
    return Model(tuple(trials.values()), name, reason, strategy, version, tuple(trials), accuracy, references)


def _recommended(versions: Versions, experiment: str) -> tuple[str, str]:
    """Return the recommended strategy and the reason."""
    finished = [name for name in versions.strategies if _finished(versions, name)]
    if not finished:
        raise ModelError(f"{experiment} has no finished trials yet: {_train(experiment, '--pipeline=transfer')}")
    if len(finished) == 1:
        return finished[0], "the only strategy that was trained"
    comparison, cost = (_newest(versions, name) for name in ("comparison", "cost"))
    if comparison is None or cost is None:
        draw = command("run", f"--env={experiment}", "--pipeline=report")
        raise ModelError(
            f"{experiment} has no comparison, so no strategy is recommended: run `{draw}`, or name one of "
            f"{', '.join(finished)}"
        )
    found = recommend(comparison.astype({"mean": float}), cost)
    return found.strategy, f"recommended: {found.reason}"


def _finished(versions: Versions, strategy: str) -> list[str]:
    """Return the versions of a strategy's checkpoints, newest first."""
    return [version for version in versions.folders if versions.has(version, f"{strategy}.checkpoints")]


def _measured_version(versions: Versions, strategy: str, there: list[str]) -> str:
    """Return the version that the newest metrics are of: a recommendation rests on it."""
    measured = [one.checkpoints for one in versions.measured if one.strategy == strategy and one.checkpoints in there]
    return measured[0] if measured else there[0]


def _trials(versions: Versions, strategy: str, version: str) -> dict[int, Checkpoint]:
    stored = StoredTrials(versions.datasets[f"{strategy}.checkpoints"].path_of(version), version, strategy)
    return {trial: stored[trial] for trial in stored}


def _one(trials: dict[int, Checkpoint], number: int, strategy: str, version: str) -> dict[int, Checkpoint]:
    if number - 1 not in trials:
        there = ", ".join(f"trial_{trial + 1}" for trial in trials)
        raise ModelError(f"{strategy}@{version} has no trial_{number}; there are {there} (counted from 1)")
    return {number - 1: trials[number - 1]}


def _accuracy(versions: Versions, strategy: str, version: str, trials: tuple[int, ...]) -> Accuracy | None:
    """Measure the test accuracy of some trials from their stored predictions; None where there are none."""
    stored = _of_evaluation(versions, strategy, version, "predictions", TableDataset)
    if stored is None:
        return None
    outcomes = Outcomes.of(stored[stored["trial"].isin(trials)])
    design = _design(versions, outcomes.paths)
    values_TU = design.units(outcomes.trials, outcomes.paths, outcomes.contributions("accuracy"))
    low, high = of_metric(values_TU, len(outcomes.paths), test_to_train=design.test_to_train)
    return Accuracy(float(np.nanmean(values_TU)), low, high, len(trials), len(outcomes.paths))


def stored_references(versions: Versions, strategy: str, version: str) -> Mapping[int, Reference] | None:
    """Return by trial what the evaluation of a version has stored to calibrate predictions on; None without one.

    Raises:
        DamagedError: the file is damaged.
    """
    return _of_evaluation(versions, strategy, version, "references", ReferencesDataset)


def _of_evaluation(
    versions: Versions, strategy: str, version: str, name: str, kind: type[WholeFile[Any, Loaded]]
) -> Loaded | None:
    """Return a dataset of the evaluation of a strategy's version; None where there was none."""
    measured = next((m for m in versions.measured if (m.strategy, m.checkpoints) == (strategy, version)), None)
    dataset = versions.datasets.get(f"{strategy}.{name}")
    if measured is None or not isinstance(dataset, kind) or not versions.has(measured.metrics, f"{strategy}.{name}"):
        return None
    return dataset.read(dataset.path_of(measured.metrics))


def pixels_trained_on(model: Model, versions: Versions) -> frozenset[str] | None:
    """Return the digests of the pixels of all images that any trial of a model was trained on; None if not known.

    The index is that of the model's version or, where a part of a run was repeated, the last one before it.
    """
    dataset = versions.datasets.get("index")
    if model.version is None or not isinstance(dataset, TableDataset):
        return None
    found = [version for version in versions.folders if version <= model.version and versions.has(version, "index")]
    if not found:
        return None
    index = dataset.read(dataset.path_of(found[0]))
    seen = [index.loc[splits_of_trial(index, trial) == "train", "pixel_sha256"] for trial in model.trials]
    return frozenset(pd.concat(seen))


def _design(versions: Versions, tested: tuple[str, ...]) -> Design:
    """Read from the index which interval is right; where these images are not in it, each is taken for itself."""
    dataset = versions.datasets.get("index")
    if not isinstance(dataset, TableDataset) or not dataset.exists():
        return BY_ACCURACY
    index = dataset.load()
    return Design.of_index(index, "accuracy", None) if set(tested) <= set(index["path"]) else BY_ACCURACY


def _newest(versions: Versions, name: str) -> pd.DataFrame | None:
    dataset = versions.datasets.get(name)
    version = next((version for version in versions.folders if versions.has(version, name)), None)
    return dataset.read(dataset.path_of(version)) if version and isinstance(dataset, TableDataset) else None


def _train(experiment: str, what: str) -> str:
    return f"train first: `{command('run', f'--env={experiment}', what)}`"
