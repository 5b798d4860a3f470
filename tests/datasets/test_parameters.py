"""What a run keeps of its parameters, and what is read of those of other runs."""

import pytest
import yaml
from dataset_kinds import NEW, OLD, version

from transferlab.datasets.atomic import DamagedError
from transferlab.datasets.parameters import ParametersDataset, used

MERGED = {"training": {"trials": 4}, "strategies": {"a": {"stages": {"tune": {"lr": 0.001}}}}, "_lr": 0.001}
OVERRIDES = {"training": {"trials": 4}, "_lr": 0.001, "dataset": {"mirror": ["a", "ねこ"], "licence": None}}


@pytest.fixture
def parameters(tmp_path):
    def of(save):
        return version(ParametersDataset, tmp_path / "parameters_used.yml", save)

    of(OLD).save(used(MERGED, {}))
    of(NEW).save(used(MERGED, OVERRIDES))
    return of(None)


def test_parameters_are_kept_whole_with_what_the_command_line_changed(parameters):
    kept = parameters.load()
    assert kept.of(NEW)["strategies"] == MERGED["strategies"]
    assert kept.overrides(OLD) == []
    assert kept.overrides(NEW) == [
        "training.trials=4", "_lr=0.001", "dataset.mirror=[a, ねこ]", "dataset.licence=null",
    ]  # fmt: skip


def test_the_file_says_what_it_is_and_needs_no_key_that_is_already_resolved(parameters):
    text = parameters.path_of(NEW).read_text(encoding="utf-8")
    assert text.startswith("# The parameters of a run")
    assert set(yaml.safe_load(text)) == {"training", "strategies", "_overrides"}


def test_a_run_without_parameters_has_none_and_a_damaged_file_is_named(parameters):
    assert parameters.load().overrides("2020-01-01T00.00.00.000Z") == []
    for content in ("a: [", "text"):
        parameters.path_of(NEW).write_text(content)
        with pytest.raises(DamagedError, match=r"parameters_used\.yml (is no YAML|holds no parameters)"):
            parameters.load().overrides(NEW)
