"""The README says what is there: its commands' names and its example; so does the example of a table of labels."""

import re
import shlex
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from transferlab.config import parse, schema
from transferlab.config.loader import ExperimentConfigLoader
from transferlab.config.parse import check_networks, read_experiment
from transferlab.pipelines.data.pipeline import create_pipeline as data_pipeline
from transferlab.pipelines.report.pipeline import create_pipeline as report_pipeline
from transferlab.pipelines.transfer.pipeline import create_pipeline as strategies_pipeline
from transferlab.settings import CONFIG_LOADER_ARGS

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(command, comments=True)
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    for command in line.split("&&")
    if "kedro run" in command
]


def values(option: str) -> list[str]:
    """What the README's commands give to an option, split at commas."""
    given = [word.partition("=")[2] for command in COMMANDS for word in command if word.startswith(f"{option}=")]
    return [value for one in given for value in one.split(",")]


@pytest.fixture(scope="module")
def parameters():
    return ExperimentConfigLoader(conf_source=str(PROJECT / "conf"), **CONFIG_LOADER_ARGS)["parameters"]


@pytest.fixture(scope="module")
def whole(parameters):
    strategies = list(parameters["strategies"])
    return data_pipeline() + strategies_pipeline(strategies) + report_pipeline(strategies)


def test_the_first_command_is_the_whole_run():
    assert "uv run kedro run --pipeline=transfer" in README


@pytest.mark.parametrize("option", ["--nodes", "--from-nodes", "--namespaces"])
def test_the_nodes_of_the_commands_exist(whole, option):
    known = {node.namespace if option == "--namespaces" else node.name for node in whole.nodes}
    assert values(option)
    assert set(values(option)) <= known


def test_the_pipelines_and_experiments_of_the_commands_exist():
    assert set(values("--pipeline")) <= {"transfer", "data", "report", "learning_curve"}
    made_by_the_reader = {"my_images"}
    for name in set(values("--env")) - made_by_the_reader:
        assert (PROJECT / "conf" / name / "parameters.yml").is_file(), name


def test_the_parameters_of_the_commands_lead_somewhere(parameters):
    typed = OmegaConf.create(read_experiment(parameters, "solar_cells").model_dump(mode="json"))  # with every default
    for assignment in values("--params"):
        assert OmegaConf.select(typed, assignment.partition("=")[0]) is not None, assignment


def test_the_example_is_a_whole_experiment():
    (example,) = [block for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "strategies:" in block]
    resolved = OmegaConf.to_container(OmegaConf.create(example), resolve=True)
    experiment = read_experiment(resolved, "my_images")
    check_networks(experiment, "my_images")
    assert set(experiment.strategies) >= {"scratch", "feature_extraction", "fine_tuning", "staged"}


def test_the_table_of_labels_in_the_docs_is_read():
    blocks = re.findall(
        r"```yaml\n(.*?)```", (PROJECT / "docs" / "your_images.md").read_text(encoding="utf-8"), re.DOTALL
    )
    (example,) = [block for block in blocks if "label_table" in block]
    dataset = parse.read(schema.Dataset, OmegaConf.to_container(OmegaConf.create(example))["dataset"], "dataset")
    assert (dataset.layout.path, dataset.layout.label, dataset.layout.split) == ("file", "species", "part")
