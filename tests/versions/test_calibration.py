"""What calibrates a model, or the reason why nothing does: real files in a real catalog."""

import re

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset, Version
from kedro.pipeline import node, pipeline

from transferlab.core.calibration.reference import Reference, Training
from transferlab.datasets.references import ReferencesDataset
from transferlab.datasets.table import TableDataset
from transferlab.versions.calibration import calibration_of
from transferlab.versions.catalogue import Versions
from transferlab.versions.models import Model, stored_references

RUN = "2026-01-01T00.00.00.000Z"
PIPELINE = pipeline(
    [
        node(lambda x: x, "photos", "tuned.checkpoints", name="train"),
        node(lambda x: (x, x), "tuned.checkpoints", ["tuned.metrics", "tuned.references"], name="evaluate"),
    ]
)


def reference(images, count=40):
    rng = np.random.default_rng(0)
    training = Training((rng.normal(size=(20, 4)),), np.arange(20) % 2, tuple(map(str, range(20))))
    return Reference.of(
        images, rng.dirichlet([1, 1], count), np.arange(count) % 2, [rng.normal(size=(count, 4))], training
    )


def told(folder, references, trials=(0, 1), strategy="tuned"):
    """What is said where an evaluation has left these references; None for one that has left none."""
    metrics = TableDataset(filepath=str(folder / "metrics.csv"), version=Version(None, RUN))
    stored = ReferencesDataset(filepath=str(folder / "references.safetensors"), version=Version(None, RUN))
    row = {"split": "test", "run_id": RUN, "checkpoint_version": RUN, "metric": "accuracy", "value": 0.9}
    metrics.save(pd.DataFrame([row]))
    if references is not None:
        stored.save(references)
    catalog = DataCatalog(
        {"tuned.metrics": metrics, "tuned.references": stored, "tuned.checkpoints": TableDataset(filepath="none.csv"),
         "experiment": MemoryDataset("photos")}
    )  # fmt: skip
    versions = Versions(catalog, PIPELINE)
    found = stored_references(versions, "tuned", RUN)
    model = Model((), "this", strategy=strategy, version=RUN, trials=trials, references=found)
    return calibration_of(model, versions, 0.9, "lac")


def test_trials_that_share_validation_images_are_calibrated_together(tmp_path):
    found = told(tmp_path, {0: reference("a"), 1: reference("a")})
    assert found.calibrated.images == 40
    assert len(found.references) == 2
    assert "calibrated on 40, which leaves ±" in found.told


def test_sets_of_too_few_validation_images_promise_nothing(tmp_path):
    found = told(tmp_path, {0: reference("a", 8)}, (0,))
    assert "Prediction sets hold every class: sets of 90% take 9 validation images, and there are 8" in found.told


@pytest.mark.parametrize(
    ("references", "trials", "strategy", "reason"),
    [
        (None, (0,), "tuned", r"run `.*--nodes=tuned\.evaluate`"),
        ({}, (0,), "tuned", r"no validation images to calibrate them on \(dataset\.split\)"),
        ({0: reference("a"), 1: reference("b")}, (0, 1), "tuned", "splits of their own; name one of them"),
        (None, (), None, "a checkpoint file has no validation images"),
        (None, (0,), None, "published without an evaluation, which calibrates them"),
    ],
)
def test_where_nothing_can_be_promised_the_reason_is_told(tmp_path, references, trials, strategy, reason):
    found = told(tmp_path, references, trials, strategy)
    assert found.calibrated is None
    assert re.search(reason, found.told)
