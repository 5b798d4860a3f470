"""Kedro-Viz: the static site of an experiment, and the other commands that look at the project without running it."""

import json

import pytest
from tiny_project import STRATEGIES

pytest.importorskip("kedro_viz")


@pytest.fixture(scope="module")
def site(tiny):
    done = tiny.kedro("viz", "build", "--include-previews", KEDRO_ENV="tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr, done.stdout + done.stderr
    return tiny.root / "build"


@pytest.fixture(scope="module")
def graph(site):
    return json.loads((site / "api" / "main").read_text())


def test_data_every_strategy_and_the_report_are_groups(graph):
    groups = graph["modular_pipelines"]
    assert set(groups) == {"__root__", "data", "report", *STRATEGIES}
    tasks = {node["id"]: node["name"] for node in graph["nodes"] if node["type"] == "task"}
    for name in STRATEGIES:
        inside = {tasks[child["id"]] for child in groups[name]["children"] if child["id"] in tasks}
        assert inside == {"build_model", "train", "evaluate", "draw_figures", "collect"}
    inside = {tasks[child["id"]] for child in groups["data"]["children"] if child["id"] in tasks}
    assert {"acquire", "decode_images", "split_images"} <= inside


def test_a_first_look_shows_few_boxes(graph):
    names = {node["id"]: node["name"] for node in graph["nodes"] if node["type"] != "parameters"}
    shown = {child["id"] for child in graph["modular_pipelines"]["__root__"]["children"]} & names.keys()
    assert not {node["id"] for node in graph["nodes"] if node["type"] == "task"} & shown
    of_strategies = {name for name in map(names.get, shown) if name.partition(".")[0] in STRATEGIES}
    assert of_strategies == {*STRATEGIES, *(f"{name}.results" for name in STRATEGIES)}
    assert len(shown) <= 26


def test_the_layers_follow_the_data(graph):
    assert graph["layers"] == ["raw", "intermediate", "primary", "models", "model_output", "reporting"]


def test_the_pipelines_can_be_chosen(graph):
    assert {pipeline["id"] for pipeline in graph["pipelines"]} == {
        "__default__",
        "transfer",
        "data",
        "report",
        "predict",
        "learning_curve",
    }


@pytest.mark.parametrize(
    ("dataset", "kind"),
    [
        ("scratch.metrics", "TablePreview"),
        ("scratch.figures", "ImagePreview"),
        ("scratch.results", "TablePreview"),
        ("statistics", "JSONPreview"),
        ("scratch.initial_model", "JSONPreview"),
        ("image_store", "JSONPreview"),
    ],
)
def test_tables_pictures_and_documents_have_previews(site, graph, dataset, kind):
    (found,) = (node["id"] for node in graph["nodes"] if node["name"] == dataset)
    shown = json.loads((site / "api" / "nodes" / found).read_text())
    assert shown["preview_type"] == kind
    assert shown["preview"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["registry", "list"], ["transfer", "data", "report"]),
        (["catalog", "describe-datasets"], ["scratch.checkpoints", "TrialsDataset"]),
        (["catalog", "resolve-patterns"], ["staged.metrics", "07_model_output/tiny/staged/metrics.csv"]),
    ],
    ids=["registry", "describe", "resolve"],
)
def test_other_commands_read_the_experiment_without_noise(tiny, command, words):
    done = tiny.kedro(*command, KEDRO_ENV="tiny")
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in words)
    assert not any(word in done.stdout + done.stderr for word in ("WARNING", "Traceback"))
