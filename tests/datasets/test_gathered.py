"""Datasets that are one box: each part keeps its name and its file."""

import base64
import io
import pickle
from copy import deepcopy

import pandas as pd
import pytest
from kedro.io import DataCatalog
from matplotlib.figure import Figure
from PIL import Image

from transferlab.datasets.document import FigureDataset
from transferlab.datasets.gathered import FIGURES, RESULTS, add_gathered, each_dataset
from transferlab.datasets.table import TableDataset


@pytest.fixture
def catalog(tmp_path):
    figures = {f"a.figure_{kind}": FigureDataset(filepath=str(tmp_path / f"{kind}.png")) for kind in FIGURES}
    catalog = DataCatalog({**figures, "a.metrics": TableDataset(filepath=str(tmp_path / "metrics.csv"))})
    add_gathered(catalog, ["a"])
    return catalog


def test_figures_are_saved_and_shown_together_and_loaded_one_by_one(catalog, tmp_path):
    assert not catalog.exists("a.figures")
    catalog.save("a.figures", {kind: Figure((2, 1), dpi=100) for kind in FIGURES})
    assert catalog.exists("a.figures")
    assert catalog.load("a.figures")["grid"] == catalog.load("a.figure_grid") == (tmp_path / "grid.png").read_bytes()
    sheet = Image.open(io.BytesIO(base64.b64decode(catalog.get("a.figures").preview())))
    assert sheet.size == (400, 200)


def test_results_are_what_the_parts_hold_and_need_not_be_saved(catalog):
    catalog.save("a.figures", {kind: Figure() for kind in FIGURES})
    metrics = pd.DataFrame({"run_id": ["1"], "metric": ["accuracy"], "value": [0.5]})
    catalog.save("a.metrics", metrics)
    catalog.save("a.results", {})
    results = catalog.load("a.results")
    assert set(results) == {"metrics", "figures"} < set(RESULTS)
    assert results["metrics"].equals(metrics)
    assert set(results["figures"]) == set(FIGURES)
    assert catalog.get("a.results").preview()["columns"] == ["metric", "value", "run_id"], "the origin stands last"
    assert {name for name, _ in each_dataset("a.results", catalog.get("a.results"))} == {
        "a.metrics", *(f"a.figure_{kind}" for kind in FIGURES),
    }  # fmt: skip


def test_a_process_of_a_parallel_runner_gets_the_same_parts(catalog):
    catalog.save("a.metrics", pd.DataFrame({"value": [0.5]}))
    catalog.unpicklable = lambda: None
    copy = pickle.loads(pickle.dumps(catalog.get("a.results")))  # noqa: S301 - our own
    assert copy.load()["metrics"]["value"].tolist() == [0.5]
    assert deepcopy(catalog.get("a.results")).load()["metrics"]["value"].tolist() == [0.5]
