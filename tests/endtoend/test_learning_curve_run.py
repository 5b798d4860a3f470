"""`kedro run --pipeline=learning_curve` on the tiny project, in which nothing was trained before."""

import pytest
import yaml
from tiny_project import PARAMETERS, TinyProject

STRATEGIES = ("scratch", "feature_extraction")


@pytest.fixture(scope="module")
def project(tmp_path_factory, server) -> TinyProject:
    """The tiny project after a learning curve of two strategies."""
    project = TinyProject(tmp_path_factory.mktemp("curve"), server)
    parameters = yaml.safe_load(PARAMETERS)
    parameters["learning_curve"] = {"strategies": list(STRATEGIES), "halvings": 3}
    parameters["strategies"]["scratch"]["stages"]["train"]["epochs"] = 1
    (project.root / "conf" / "tiny" / "parameters.yml").write_text(yaml.safe_dump(parameters))
    project.run("--pipeline=data")
    project.printed = project.run("--pipeline=learning_curve")
    return project


def test_every_strategy_was_trained_on_the_same_parts_and_tested_on_the_same_images(project):
    index = project.table("03_primary/{}/index.parquet")
    subsets = project.table("02_intermediate/{}/learning_curve_subsets.parquet")
    assert set(subsets["path"]) == set(index.loc[index["split"] == "train", "path"])
    assert len(subsets["asked"].unique()) == 4
    tested = set(index.loc[index["split"] == "test", "path"])
    for name in STRATEGIES:
        predictions = project.table(f"07_model_output/{{}}/{name}/curve_predictions.parquet")
        assert sorted(predictions["trial"].unique()) == list(range(12))
        assert all(set(own["path"]) == tested for _, own in predictions.groupby("trial"))


def test_features_are_computed_once_for_all_parts(project):
    assert len(list(project.root.glob("data/04_feature/tiny/*.safetensors"))) == 3, "two views to train on, one to test"


def test_tables_figure_and_page_are_made_and_the_answer_is_printed(project):
    points = project.table("08_reporting/{}/learning_curve.csv")
    assert points.groupby("strategy").size().to_dict() == dict.fromkeys(STRATEGIES, 4)
    assert points[["mean", "low_images", "high_images"]].notna().all(axis=None)
    fits = project.table("08_reporting/{}/learning_curve_fits.csv")
    assert list(fits["strategy"]) == list(STRATEGIES)
    assert project.file("08_reporting/{}/figures/learning_curve.png").stat().st_size > 10_000
    page = project.file("08_reporting/{}/learning_curve.html").read_text(encoding="utf-8")
    assert "would more labels help?" in page
    lines = project.printed.splitlines()
    assert lines[-1].startswith("Learning curves: ")
    assert any(line.startswith("Scratch: ") for line in lines)


def test_nothing_is_left_of_the_parts_and_the_versions_name_the_pipeline(project):
    for name in STRATEGIES:
        assert not list(project.root.glob(f"data/06_models/tiny/{name}/unfinished_parts/*.pt"))
    assert "learning_curve" in project.kedro("transferlab", "versions", "--env=tiny").stdout
