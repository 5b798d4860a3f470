"""The notebook, as it stands, on the tiny run; and what is committed of its outputs."""

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from tiny_project import PROJECT

NOTEBOOK = PROJECT / "notebooks" / "compare_strategies.ipynb"
MOST_CHARACTERS = 60_000  # of the notebook: small enough to be read in a diff


@pytest.fixture(scope="module")
def executed(tiny):
    folder = tiny.root / "notebooks"
    folder.mkdir()
    shutil.copy(NOTEBOOK, folder)
    notebook = nbformat.read(folder / NOTEBOOK.name, as_version=4)
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        set_variable(notebook, "EXPERIMENT", "tiny")
        set_variable(notebook, "PHOTOGRAPH", str(next((tiny.root / "images" / "circle").iterdir())))
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def set_variable(notebook, name: str, value: str) -> None:
    """Give a variable a value where the notebook asks its reader to."""
    (cell,) = [cell for cell in notebook.cells if f"{name} = None" in cell.source]
    cell.source = cell.source.replace(f"{name} = None", f"{name} = {value!r}")


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
    assert "report.html" in text
    assert "Warning" not in text
    assert "Scratch" in outputs(executed, "text/plain"), "the comparison table"


def test_it_predicts_a_photograph_of_ones_own(executed):
    assert "a test image" not in outputs(executed, "text")
    assert "p_circle" in outputs(executed, "text/html")
    shown = [output.get("data", {}) for cell in executed.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in data for data in shown) == 1


def test_it_begins_with_the_experiment():
    assert "EXPERIMENT = None" in nbformat.read(NOTEBOOK, as_version=4).cells[0].source


def test_its_committed_outputs_are_small_and_of_no_machine():
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert sum(bool(cell.outputs) for cell in cells) >= 8
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < MOST_CHARACTERS
    assert not [place for place in (str(PROJECT), str(Path.home()) + "/", "/home/", "/Users/") if place in text]
