"""The notebook, as it stands, on the tiny run."""

import shutil

import nbformat
import pytest
from nbclient import NotebookClient
from tiny_project import PROJECT

NOTEBOOK = PROJECT / "notebooks" / "compare_strategies.ipynb"


@pytest.fixture(scope="module")
def executed(tiny):
    folder = tiny.root / "notebooks"
    folder.mkdir()
    shutil.copy(NOTEBOOK, folder)
    notebook = nbformat.read(folder / NOTEBOOK.name, as_version=4)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KEDRO_ENV", "tiny")
        environment.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def outputs(notebook, kind: str) -> str:
    return "\n".join(
        str(output.get("text", "")) if kind == "text" else str(output.get("data", {}).get(kind, ""))
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )


def test_the_notebook_runs_and_says_which_strategy_is_best(executed):
    text = outputs(executed, "text")
    assert "Shapes: circle, square, stripes" in text
    assert "truth: circle" in text
    assert "report.html" in text
    assert "Warning" not in text
    assert "Scratch" in outputs(executed, "text/plain"), "the comparison table"


def test_it_shows_figures_and_a_prediction(executed):
    shown = [output.get("data", {}) for cell in executed.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in data for data in shown) == 3
    assert "p_circle" in outputs(executed, "text/html")


def test_its_outputs_are_stripped():
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
