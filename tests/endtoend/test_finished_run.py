"""A whole run after which nothing has changed has nothing to do; whatever changes is run."""

import json
import shutil

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from PIL import Image
from tiny_project import TinyProject

from transferlab.hooks import whole_run


@pytest.fixture
def finished(untouched, tmp_path, server, monkeypatch) -> TinyProject:
    """The tiny project after a whole run, which nothing has touched."""
    monkeypatch.chdir(shutil.copytree(untouched[0], tmp_path / "copy", symlinks=True))
    project = TinyProject.__new__(TinyProject)
    project.root, project.server = tmp_path / "copy", server
    return project


def unchanged(project, **parameters):
    bootstrap_project(project.root)
    return whole_run.unchanged(KedroSession.create(project.root, env="tiny", runtime_params=parameters).load_context())


def test_it_says_so_with_the_answer_and_saves_nothing(finished, untouched):
    before = finished.files()
    printed = finished.run("--pipeline=transfer")
    (run_id,) = finished.versions("08_reporting/{}/report.html")
    assert f"Nothing has changed since the run {run_id}" in printed
    answer = untouched[1].partition("Test accuracy on")[2].replace(str(untouched[0]), str(finished.root))
    assert answer
    assert printed.partition("Test accuracy on")[2].split() == answer.split()
    assert finished.files() == before


def test_nothing_has_changed_where_the_project_was_moved(finished):
    assert unchanged(finished) == finished.versions("08_reporting/{}/report.html")[-1]


@pytest.mark.parametrize(
    "change",
    [
        lambda root: Image.new("RGB", (32, 32)).save(root / "images" / "circle" / "new.png"),
        lambda root: Image.new("RGB", (32, 32)).save(root / "images" / "circle" / "circle_01.png"),
        lambda root: (root / "images" / "circle" / "torn.png").unlink(),
        lambda root: (root / "images" / "circle" / "notes.txt").write_text("not an image"),
        lambda root: (root / "images" / "circle" / "circle_01.png").rename(root / "images" / "square" / "moved.png"),
        lambda root: (root / "images").rename(root / "pictures"),
        lambda root: (root / "weights.pth").write_bytes((root / "weights.pth").read_bytes() + b"0"),
        lambda root: (root / "weights.pth").unlink(),
        lambda root: (root / "data/02_intermediate/tiny/whole_run.json").unlink(),
        lambda root: (root / "data/02_intermediate/tiny/whole_run.json").write_text("{}"),
        lambda root: (root / "data/02_intermediate/tiny/whole_run.json").write_bytes(b"\xff"),
        lambda root: shutil.rmtree(root / "data/06_models/tiny/scratch/checkpoints"),
        lambda root: shutil.rmtree(root / "data/08_reporting/tiny/scratch"),
        lambda root: (root / "data/02_intermediate/tiny/accepted.parquet").unlink(),
        lambda root: (root / "data/07_model_output/tiny/staged/metrics.csv/2999-01-01T00.00.00.000Z").mkdir(),
    ],
)
def test_what_is_changed_or_lost_is_run(finished, change):
    change(finished.root)
    assert unchanged(finished) is None


@pytest.mark.parametrize(
    "parameters",
    [
        {"training": {"fresh": True}},
        {"training": {"trials": 3}},
        {"strategies": {"scratch": {"stages": {"train": {"epochs": 4}}}}},
        {"report": {"title": "Other shapes"}},
        {"tracking": {"mlflow": "sqlite:///mlflow.db"}},
    ],
)
def test_other_parameters_are_run(finished, parameters):
    assert unchanged(finished, **parameters) is None


def test_what_a_parameter_was_given_by_does_not_matter(finished):
    assert unchanged(finished, training={"trials": 2, "fresh": False})


@pytest.mark.parametrize("what", ["code", "packages", "machine"])
def test_another_program_or_machine_is_run(finished, what, monkeypatch):
    other = {
        "code": ("_code", lambda: [finished.root / "weights.pth"]),
        "packages": ("_packages", lambda: {"python": "2.7"}.items()),
        "machine": ("cpus", lambda: 1000),
    }
    monkeypatch.setattr(whole_run, *other[what])
    assert unchanged(finished) is None


def test_who_names_nodes_has_them_run(finished):
    assert "Nothing has changed" not in finished.run("--nodes=report.list_mistakes")


def test_a_part_of_a_run_is_not_kept_as_a_whole_one(finished):
    record = finished.root / "data/02_intermediate/tiny/whole_run.json"
    before = json.loads(record.read_text())
    finished.run("--pipeline=report")
    assert json.loads(record.read_text()) == before
    assert unchanged(finished) is None, "the report is newer than the rest"
