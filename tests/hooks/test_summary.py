"""The estimate that begins the training of a run, and the last lines, with a catalog in memory."""

import pandas as pd
import pytest
import torch
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import node, pipeline
from tiny import strategy

from transferlab.config.schema import Training
from transferlab.core.runtime.compute import Compute
from transferlab.core.training import estimate
from transferlab.hooks import summary

PIPELINE = pipeline([node(lambda x: x, "images", "scratch.checkpoints", name="train")])
STATISTICS = {"classes": ["a", "b"], "images": {"train": {"a": 5, "b": 5}}}


class Settings:
    """What the estimate looks at of an experiment."""

    def __init__(self, **compute):
        self.strategies = {"scratch": strategy()}
        self.training = Training(compute=Compute(device="cpu", **compute))


def expected(settings):
    return summary.expected(settings, PIPELINE, DataCatalog({"statistics": MemoryDataset(STATISTICS)}))


@pytest.mark.parametrize(("decides", "told"), [("accuracy", "accuracy 75.0%"), ("log_loss", "log loss 0.400")])
def test_a_run_that_ends_with_an_evaluation_says_what_came_of_it_by_the_metric_that_decides(decides, told):
    rows = [("accuracy", 0.5), ("accuracy", 1.0), ("log_loss", 0.5), ("log_loss", 0.3)]
    metrics = pd.DataFrame(rows, columns=["metric", "value"]).assign(split="test")
    catalog = DataCatalog({"scratch.metrics": MemoryDataset(metrics), "params:report.metric": MemoryDataset(decides)})
    assert summary.ending(["scratch.metrics"], catalog) == f"Scratch: test {told}, 2 trials: in memory"


def test_each_strategy_is_estimated_on_the_device_of_the_run(monkeypatch):
    devices = set()
    monkeypatch.setattr(estimate, "seconds", lambda work, classes, device: devices.add(device) or 3.0)
    assert expected(Settings()) == {"scratch": 3.0}
    assert devices == {torch.device("cpu")}


def test_steps_that_cannot_be_done_end_no_run(monkeypatch):
    def out_of_memory(*_):
        raise torch.OutOfMemoryError("no memory for 8 images")

    monkeypatch.setattr(estimate, "_of_an_image", out_of_memory)
    assert expected(Settings()) == {}


def test_nothing_is_said_of_a_cluster():
    assert expected(Settings(launcher="ray")) == {}


@pytest.mark.parametrize(("left_out", "told"), [(0, ""), (1, "\nNot used: 1 file, with reasons: in memory")])
def test_a_run_that_ends_with_the_data_says_where_the_files_are_that_it_cannot_use(left_out, told):
    quarantine = pd.DataFrame({"path": ["notes.txt"] * left_out})
    catalog = DataCatalog({"statistics": MemoryDataset(STATISTICS), "quarantine": MemoryDataset(quarantine)})
    data = "Data: 2 classes, 10 images (10 train): in memory"
    assert summary.ending(["statistics", "quarantine"], catalog) == data + told
