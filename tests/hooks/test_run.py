"""What a user is told when a run fails, is stopped, or ends."""

import contextlib
import importlib
import io
import logging
import os
import signal

import pytest
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.pipeline import node, pipeline
from tiny_project import PROJECT

from transferlab.config.context import ExperimentContext
from transferlab.config.loader import ExperimentConfigLoader
from transferlab.console import progress
from transferlab.console.commands import command
from transferlab.console.errors import Interrupted, Terminated, UserError
from transferlab.core.data.split.config import SplitError
from transferlab.core.launch.channel import RankError
from transferlab.core.models.checkpoint import CheckpointError
from transferlab.core.runtime import interrupt
from transferlab.core.runtime.memory import DeviceMemoryError
from transferlab.core.training.state import StateFile
from transferlab.datasets.folders import UnfinishedTrials
from transferlab.hooks.run import ProjectHooks
from transferlab.settings import CONFIG_LOADER_ARGS

STEPS = pipeline(
    [
        node(lambda x: x, "photos", "index", name="split"),
        node(lambda x: x, "index", "a.model", name="train", namespace="a"),
        node(lambda x: x, "index", "b.model", name="train", namespace="b"),
        node(lambda *x: x, ["a.model", "b.model"], "report", name="write"),
    ]
)


def begin(pipeline_, catalog: DataCatalog) -> ProjectHooks:
    """Make the hooks of a process in which a run has begun."""
    hooks = ProjectHooks()
    hooks.after_catalog_created(catalog, "2026-01-01T00.00.00.000Z")
    catalog["experiment"] = MemoryDataset("tiny")
    hooks.before_pipeline_run({"runner": "SequentialRunner"}, pipeline_, catalog)
    return hooks


@pytest.fixture
def hooks():
    return begin(STEPS, DataCatalog())


def by_name(name: str):
    return next(each for each in STEPS.nodes if each.name == name)


@pytest.mark.parametrize("kind", [SplitError, DeviceMemoryError, RankError])
def test_an_error_of_the_user_is_a_message_with_the_node(hooks, kind):
    with pytest.raises(UserError, match=r"^split: what to do"):
        hooks.on_node_error(kind("what to do"), by_name("split"))


def test_any_other_error_goes_on_with_its_traceback(hooks, caplog):
    with caplog.at_level(logging.ERROR):
        hooks.on_node_error(ZeroDivisionError(), by_name("split"))
    assert caplog.messages == ["split failed."]


def test_what_is_left_to_do_is_what_can_start(hooks):
    assert hooks.how_to_go_on() == "", "nothing was done: the same command again"
    hooks.after_dataset_saved("index", None)
    assert hooks.how_to_go_on().endswith("add --from-nodes=a.train,b.train")
    hooks.after_dataset_saved("a.model", None)
    assert hooks.how_to_go_on().endswith("add --from-nodes=b.train")
    hooks.after_dataset_saved("b.model", None)
    hooks.after_dataset_saved("report", None)
    assert hooks.how_to_go_on() == ""


def test_an_error_of_the_system_is_a_message_with_the_file_and_the_cure(hooks):
    error = OSError(28, "No space left on device", "data/a.csv")
    with pytest.raises(UserError, match=r"^split: No space left on device: data/a\.csv; free some space.*run again"):
        hooks.on_node_error(error, by_name("split"))
    wrapped = DatasetError("index: Failed while saving data to dataset TableDataset(...)")
    wrapped.__cause__ = error
    with pytest.raises(UserError, match=r"^No space left on device: data/a\.csv; free some space.*run again"):
        hooks.on_pipeline_error(wrapped)


def test_an_error_that_tells_all_is_told_without_what_is_around_it(hooks):
    wrapped = DatasetError("model: Failed while loading data from dataset CheckpointDataset(...)")
    wrapped.__cause__ = CheckpointError("a.safetensors is damaged: restore a copy of it")
    with pytest.raises(UserError, match=r"^a\.safetensors is damaged: restore a copy of it$"):
        hooks.on_pipeline_error(wrapped)


def test_where_training_goes_on_is_said(tmp_path):
    states = UnfinishedTrials(filepath=str(tmp_path))
    training = node(lambda x: x, "index", "a.model", name="train", namespace="a", confirms="a.states")
    hooks = begin(pipeline([training]), DataCatalog({"a.states": states}))
    assert hooks.how_to_go_on() == "", "nothing was done: the same command again"
    for trial, epoch in ((0, 7), (1, 3)):
        StateFile(tmp_path / f"trial_{trial}.pt", {}).write({}, epoch)
    assert hooks.how_to_go_on() == (
        "\nTo go on from there, run it again: training goes on after epoch 3 of trial 2 (a)"
    )
    (tmp_path / "trial_0 copy.pt").write_bytes(b"made by a file manager")
    hooks.after_dataset_saved("index", None)
    assert hooks.how_to_go_on().startswith("\nTo go on from there, add --from-nodes=a.train: training goes on after")
    hooks.after_dataset_saved("a.model", None)
    assert hooks.how_to_go_on() == ""


@pytest.mark.parametrize("cause", [DatasetError("no version"), OSError("no number")])
def test_a_dataset_that_fails_for_a_reason_of_the_user_is_a_message(hooks, cause):
    error = DatasetError("index: failed")
    error.__cause__ = cause
    with pytest.raises(UserError, match="index: failed"):
        hooks.on_pipeline_error(error)


def test_a_dataset_that_fails_for_another_reason_keeps_its_traceback(hooks):
    error = DatasetError("index: failed")
    error.__cause__ = AttributeError("a bug")
    hooks.on_pipeline_error(error)
    hooks.on_pipeline_error(AttributeError("a bug"))


def test_nodes_know_the_run():
    catalog = DataCatalog()
    begin(STEPS, catalog)
    assert catalog.load("run_id") == "2026-01-01T00.00.00.000Z"


@pytest.mark.parametrize("moment", ["after_dataset_saved", "after_dataset_loaded"])
def test_classes_and_images_are_said_once_as_soon_as_they_are_known(hooks, capsys, moment):
    statistics = {"classes": ["ant", "bee"], "images": {"train": {"ant": 1000, "bee": 5}, "test": {"bee": 1}}}
    getattr(hooks, moment)("statistics", statistics)
    assert capsys.readouterr().out == "2 classes, 1,006 images (1,005 train, 1 test)\n"
    hooks.after_dataset_loaded("statistics", statistics)
    assert capsys.readouterr().out == ""


def test_a_run_that_ends_with_the_statistics_says_them_at_the_end_alone(capsys):
    hooks = begin(pipeline([node(lambda x: x, "photos", "statistics", name="measure")]), DataCatalog())
    hooks.after_dataset_saved("statistics", {"classes": ["ant"], "images": {"train": {"ant": 1}}})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("is_whole", "told"), [(True, "4 strategies x 3 trials; "), (False, "")])
def test_the_first_line_of_a_run_does_not_wait_for_its_nodes(hooks, capsys, monkeypatch, is_whole, told):
    monkeypatch.setattr(progress, "_plan", progress.Plan())  # the trainings of no run are expected after this
    loader = ExperimentConfigLoader(str(PROJECT / "conf"), env="solar_cells", **CONFIG_LOADER_ARGS)
    of_nothing, of_a_run = (ExperimentContext(PROJECT, loader, "solar_cells", "transferlab", None) for _ in range(2))
    hooks.after_context_created(of_nothing)
    assert capsys.readouterr().out == "", "other commands make contexts too"
    hooks.expect_run(is_whole)
    hooks.after_context_created(of_a_run)
    line = f"Experiment solar_cells: {told}results go to data/08_reporting/solar_cells\n"
    assert capsys.readouterr().out == line, "what is not trained has trials of its own"
    catalog = DataCatalog({"run_id": MemoryDataset(""), "experiment": MemoryDataset("solar_cells")})
    hooks.before_pipeline_run({"runner": "SequentialRunner"}, pipeline([]), catalog)
    assert capsys.readouterr().out == ""


def test_a_run_that_makes_nothing_says_so(hooks, capsys):
    hooks.after_pipeline_run()
    assert "Nothing to do: every output is there" in " ".join(capsys.readouterr().out.split())


def test_user_errors_are_one_message_on_stderr(capsys):
    UserError("dataset.source.path: 'x' does not exist").show()
    assert capsys.readouterr() == ("", "Error: dataset.source.path: 'x' does not exist\n")
    assert (Interrupted("stopped").exit_code, Terminated("stopped").exit_code) == (130, 143)


def test_a_traceback_is_shown_where_it_is_asked_for(capsys, monkeypatch):
    monkeypatch.setattr(UserError, "VERBOSE_ERROR", True)
    try:
        raise UserError("told") from SplitError("why")
    except UserError as error:
        error.show()
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "SplitError: why" in shown
    assert shown.endswith("Error: told\n")


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_run_that_is_to_stop_begins_no_other_node(hooks):
    hooks.before_dataset_loaded("index")
    with pytest.raises(interrupt.Terminated), interrupt.stoppable():  # noqa: PT012
        with contextlib.suppress(KeyboardInterrupt):  # as the worker's pool does
            os.kill(os.getpid(), signal.SIGTERM)
        hooks.before_dataset_loaded("index")
        pytest.fail("went on")


def test_a_dataset_that_cannot_be_loaded_names_the_command_that_makes_it(hooks):
    hooks.before_dataset_loaded("index")
    with pytest.raises(UserError, match=r"no version\nTo make it: (uv run )?kedro run --env=tiny --nodes=split"):
        hooks.on_pipeline_error(DatasetError("no version"))
    hooks.after_dataset_loaded("index", None)
    with pytest.raises(UserError, match=r"^no space$"):
        hooks.on_pipeline_error(DatasetError("no space"))


@pytest.mark.parametrize(
    ("environment", "words", "expected"),
    [
        ({}, ("run", "--env=a b"), "kedro run '--env=a b'"),
        ({"UV": "/bin/uv"}, ("run", "--nodes=a.train"), "uv run kedro run --nodes=a.train"),
        ({"UV_RUN_RECURSION_DEPTH": "1"}, ("transferlab", "prune"), "uv run kedro transferlab prune"),
    ],
)
def test_a_printed_command_can_be_pasted(monkeypatch, environment, words, expected):
    for name in ("UV", "UV_RUN_RECURSION_DEPTH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert command(*words) == expected


def test_a_printed_command_of_the_package_runs_the_package(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    assert command("run", "--env=mine").endswith("-m transferlab --env=mine")


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii"])
def test_what_an_encoding_lacks_is_written_plainly(encoding):
    importlib.import_module("transferlab.console.terminal")
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="transferlab.plain")
    file.write("\N{MINUS SIGN}1.2, 0.5 \N{MULTIPLICATION SIGN} \u30cd ")
    file.flush()
    assert file.buffer.getvalue().decode(encoding).replace("\xd7", "x") == "-1.2, 0.5 x \\u30cd "


@pytest.mark.parametrize("what", ["as it is", "within Kedro's"])
def test_a_message_for_the_user_is_told_rather_than_what_the_system_said(tmp_path, what):
    first, second = (UnfinishedTrials(filepath=str(tmp_path / "unfinished")) for _ in range(2))
    first.load()
    with pytest.raises(DatasetError) as raised:
        second.load()
    error = raised.value
    if what != "as it is":
        error = DatasetError(f"Failed while loading data from dataset X.\n{error}")
        error.__cause__ = raised.value
    with pytest.raises(UserError, match="another run is training this strategy; wait for it, or stop it"):
        begin(STEPS, DataCatalog()).on_pipeline_error(error)
    first.confirm()
