"""The parameters as a file: what is no YAML, or refers to nothing, is told; what would run code does not."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transferlab.config.errors import ConfigError
from transferlab.config.loader import ExperimentConfigLoader
from transferlab.config.schema import Experiment
from transferlab.console.errors import UserError
from transferlab.settings import CONFIG_LOADER_ARGS

pytestmark = pytest.mark.filterwarnings("ignore:register_new_resolver")
VALID = """
dataset:
  source: {name: folder, path: photographs}
_shared: 0.25
strategies:
  untrained:
    model: {name: transferlab/convnet}
    stages: {}
report:
  title: Photographs
"""


def experiment_in(folder: Path, text: str | bytes) -> Experiment:
    conf = folder / "conf"
    for environment in ("base", "mine"):
        (conf / environment).mkdir(parents=True, exist_ok=True)
    (conf / "mine" / "parameters.yml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return ExperimentConfigLoader(str(conf), env="mine", **CONFIG_LOADER_ARGS).experiment


def test_what_is_valid_is_read(tmp_path):
    assert experiment_in(tmp_path, VALID).report.title == "Photographs"
    assert experiment_in(tmp_path, VALID + "  description: ${experiment:}\n").report.description == "mine"


def test_each_loader_of_a_process_names_its_own_experiment(tmp_path):
    text = VALID + "  description: ${experiment:}\n"
    for folder in ("base", "mine", "yours"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "parameters.yml").write_text("" if folder == "base" else text)
    mine, yours = (ExperimentConfigLoader(str(tmp_path), env=e, **CONFIG_LOADER_ARGS) for e in ("mine", "yours"))
    assert [loader.experiment.report.description for loader in (mine, yours, mine)] == ["mine", "yours", "mine"]


def test_what_is_read_once_is_nobodys_to_change_but_the_loaders(tmp_path):
    experiment_in(tmp_path, VALID)
    loader = ExperimentConfigLoader(str(tmp_path / "conf"), env="mine", **CONFIG_LOADER_ARGS)
    loader["parameters"]["report"]["title"] = "Changed in place"
    assert loader["parameters"]["report"]["title"] == "Photographs"
    loader.runtime_params = {"report": {"title": "Drawings"}}
    assert loader["parameters"]["report"]["title"] == "Drawings"
    loader["parameters"] = {"set": True}
    assert loader["parameters"] == {"set": True}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset: {source: [\n", "line 2: "),
        (
            "dataset:\n\t- a\n",
            "in conf/mine/parameters.yml: '<tab>- a'; indent with spaces: YAML takes no tab",
        ),
        ("- a\n- b\n", "must hold keys with values, not a list"),
        (VALID + "report: {title: again}\n", "line 11: found duplicate key report"),
        (VALID + "  description: ${_shred}\n", "'_shred' not found, full_key: report.description"),
        (VALID + "_a: ${_b}\n_b: ${_a}\n", "Recursive interpolation detected, full_key: _"),
        (VALID + "null: 1\n", "key type 'NoneType'"),
        (b"a: \xff\n", "can't decode byte 0xff"),
        (b"a: \0\n", "control characters are not allowed"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(tmp_path, text, message):
    with pytest.raises(ConfigError) as caught:
        experiment_in(tmp_path, text)
    assert str(caught.value).startswith("conf/mine: the parameters cannot be read: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.mkdir [{target}]",
        "!!python/object/new:os.mkdir [{target}]",
        "!!python/name:os.mkdir",
        "!!python/module:os",
        "${{oc.env:SECRET}}",
        "${{oc.env:SECRET,fallback}}",
    ],
)
def test_a_value_runs_no_code_and_reads_no_environment(tmp_path, monkeypatch, value):
    monkeypatch.setenv("SECRET", "of this machine")
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        experiment_in(tmp_path, f"{VALID}  description: {value.format(target=tmp_path / 'it_ran')}\n")
    assert "of this machine" not in str(caught.value)
    assert not (tmp_path / "it_ran").exists()


def test_a_file_that_blows_up_is_stopped(tmp_path):
    levels = [f"_{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)]
    with pytest.raises(ConfigError, match="cannot be read"):
        experiment_in(tmp_path, f"{VALID}_0: &a0 [x]\n{''.join(levels)}")


PIECES = st.sampled_from(
    [
        ": ",
        "- ",
        "\n",
        "  ",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a",
        "!!",
        "${",
        "}",
        "|",
        ">",
        "? ",
        "#",
        "'",
        '"',
        "\t",
        "é",
        "%",
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, len(VALID)), st.integers(0, 6), PIECES | st.text(max_size=3)), max_size=4))
def test_any_text_is_an_experiment_or_a_config_error(tmp_path, changes):
    text = VALID
    for place, cut, piece in changes:
        text = text[:place] + piece + text[place + cut :]
    try:
        experiment = experiment_in(tmp_path, text.encode("utf-8", "surrogatepass"))
    except ConfigError as error:
        assert "conf/mine" in str(error)  # noqa: PT017 - both ways are right
    else:
        assert isinstance(experiment, Experiment)


@pytest.mark.parametrize(
    "name", ["../outside", "/outside", ".", "..", "mine/", "a:b", "base", "local", "downloads", "extracted"]
)
def test_an_environment_is_a_folder_of_conf_and_no_path(tmp_path, name):
    (tmp_path / "conf" / "mine").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    with pytest.raises(UserError, match=f"^--env={re.escape(name)}: "):
        ExperimentConfigLoader(str(tmp_path / "conf"), env=name, **CONFIG_LOADER_ARGS)


def test_a_mistyped_environment_is_suggested(tmp_path):
    (tmp_path / "solar_cells_full").mkdir()
    with pytest.raises(UserError, match="did you mean 'solar_cells_full'"):
        ExperimentConfigLoader(str(tmp_path), env="solar_cell_full", **CONFIG_LOADER_ARGS)


@pytest.mark.parametrize("name", ["my [photos]", "a{b}", "[/b]", "what?"])
def test_a_path_that_kedro_takes_for_a_pattern_is_told(tmp_path, name):
    (tmp_path / name / "conf" / "mine").mkdir(parents=True)
    with pytest.raises(UserError, match="rename the folder"):
        ExperimentConfigLoader(str(tmp_path / name / "conf"), env="mine", **CONFIG_LOADER_ARGS)
