"""A whole run after which nothing has changed has nothing to do; whatever changes is run."""

import json
import logging
import shutil

import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import MemoryDataset
from PIL import Image
from tiny_project import TinyProject

from transferlab.hooks import whole_run
from transferlab.pipelines.data import nodes


@pytest.fixture
def finished(untouched, tmp_path, server, monkeypatch) -> TinyProject:
    """The tiny project after a whole run, which nothing has touched."""
    monkeypatch.chdir(shutil.copytree(untouched[0], tmp_path / "copy", symlinks=True))
    project = TinyProject.__new__(TinyProject)
    project.root, project.server = tmp_path / "copy", server
    return project


def context_of(project, **parameters):
    bootstrap_project(project.root)
    return KedroSession.create(project.root, env="tiny", runtime_params=parameters).load_context()


def unchanged(project, **parameters):
    return whole_run.unchanged(context_of(project, **parameters))


def begun(context, **options):
    return whole_run.begun(
        context, pipelines["__default__"], {"load_versions": {}, "only_missing_outputs": False, **options}
    )


def keep(context, made_from, run_id):
    catalog = context.catalog
    catalog["run_id"] = MemoryDataset(run_id)
    whole_run.keep(made_from, pipelines["__default__"].all_outputs(), catalog, context.project_path)


def torn(file):
    file.write_bytes(file.read_bytes()[:20])


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
        lambda root: (root / "data/02_intermediate/tiny/whole_run.json").write_text("[]"),
        lambda root: (root / "data/02_intermediate/tiny/whole_run.json").write_text("null"),
        lambda root: (root / "data/02_intermediate/tiny/whole_run.json").write_bytes(b"\xff"),
        lambda root: shutil.rmtree(root / "data/06_models/tiny/scratch/checkpoints"),
        lambda root: next((root / "data/06_models/tiny/scratch/checkpoints").rglob("trial_1.*")).unlink(),
        lambda root: torn(next((root / "data/06_models/tiny/scratch/checkpoints").rglob("trial_1.*"))),
        lambda root: torn(next((root / "data/08_reporting/tiny/comparison.csv").glob("*/*"))),
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


def test_a_run_of_what_is_missing_or_of_other_versions_is_not_kept_as_a_whole_one(finished):
    context = context_of(finished)
    assert begun(context)
    assert begun(context, only_missing_outputs=True) is None
    assert begun(context, load_versions={"scratch.checkpoints": "2026-01-01T00.00.00.000Z"}) is None
    assert whole_run.begun(context, pipelines["data"], {"load_versions": {}, "only_missing_outputs": False}) is None


def test_weights_that_are_changed_during_a_run_are_not_what_it_was_made_from(finished):
    context, run_id, weights = context_of(finished), unchanged(finished), finished.root / "weights.pth"
    before, made_from = weights.read_bytes(), begun(context)
    weights.write_bytes(before + b"0")
    keep(context, made_from, run_id)
    assert unchanged(finished) is None
    weights.write_bytes(before)
    assert unchanged(finished) == run_id


def test_a_run_that_cannot_be_kept_is_whole_all_the_same(finished, caplog):
    context, run_id = context_of(finished), unchanged(finished)
    record = finished.root / "data/02_intermediate/tiny/whole_run.json"
    record.unlink()
    (record / "something").mkdir(parents=True)
    keep(context, begun(context), run_id)
    assert "the run is whole" in caplog.text
    assert unchanged(finished) is None


def test_warnings_of_the_images_are_left_to_the_run(finished, monkeypatch, caplog):
    def with_warning(extracted, dataset, list_images=nodes.list_images):
        logging.getLogger("transferlab").warning("odd images")
        return list_images(extracted, dataset)

    monkeypatch.setattr(nodes, "list_images", with_warning)
    assert unchanged(finished)
    assert "odd images" not in caplog.text
    logging.getLogger("transferlab").warning("a later warning")
    assert "a later warning" in caplog.text


def test_packages_of_sources_that_are_not_installed_are_all_that_there_are(monkeypatch):
    def of_none(name):
        raise whole_run.PackageNotFoundError(name)

    installed = dict(whole_run._packages())
    monkeypatch.setattr(whole_run, "requires", of_none)
    assert dict(whole_run._packages())["torch"] == installed["torch"]
