"""What `--params`, `--config` and options that choose nodes cannot take is told in one line."""

import sys
from unittest.mock import Mock

import click
import pytest
from kedro.pipeline import node, pipeline

from transferlab.cli.run import run
from transferlab.console.errors import UserError


@pytest.mark.parametrize(
    "given", ["a=[", "training.trials=@x", 'a.b="x', "seed=*x", "seed=!!python/object:os.system", "a=${b"]
)
def test_a_value_that_is_no_yaml_is_told_with_the_cure(given):
    with pytest.raises(click.BadParameter) as caught:
        run.make_context("run", [f"--params={given}"])
    assert caught.value.message.startswith(f"{given} cannot be read: ")
    assert "put quotes around text" in caught.value.message


def test_other_values_are_read_as_ever():
    context = run.make_context("run", ['--params=a.b="[x",c=2'])
    assert context.params["params"] == {"a": {"b": "[x"}, "c": 2}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("run: {nodes: data.acquire}", "Key `nodes` in provided configuration is not valid"),
        ("run: {env: [", "cannot be read"),
        ("env: tiny", "holds no options of `kedro run`: it must hold options below the key `run`"),
        ("run:", "holds no options"),
        ("- run", "holds no options"),
        ("", "holds no options"),
    ],
)
def test_a_file_of_options_that_cannot_be_taken_is_told(tmp_path, content, told):
    file = tmp_path / "options.yml"
    file.write_text(content)
    with pytest.raises(UserError) as caught:
        run.make_context("run", [f"--config={file}"])
    assert str(caught.value).startswith(f"--config: {file}")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("chosen", "meant"),
    [
        ({"node_names": ["tuning.eval"]}, r"\['tuning\.eval'\]; did you mean 'tuning\.evaluate'\?$"),
        ({"node_namespaces": ["tunin"]}, r"\['tunin'\]; did you mean 'tuning'\?$"),
        ({"to_outputs": ["tuning.metric"]}, r"\['tuning\.metric'\]; did you mean 'tuning\.metrics'\?$"),
        ({"node_names": ["evaluate"]}, r"\['evaluate'\]\. Did you mean: \['tuning\.evaluate'\]\?$"),
    ],
)
def test_a_name_that_nothing_has_is_told_with_what_it_may_have_meant(monkeypatch, chosen, meant):
    module = sys.modules["transferlab.cli.run"]  # the package has the command under this name
    whole = pipeline([node(lambda x: x, "photos", "tuning.metrics", name="evaluate", namespace="tuning")])
    monkeypatch.setattr(module, "registered", {"__default__": whole})
    monkeypatch.setattr(module, "_kedro_run", lambda **_: whole.filter(**chosen))
    monkeypatch.setattr(module, "_run_hooks", Mock())
    with pytest.raises(UserError, match=meant):
        module._run(None, [], **dict.fromkeys(module._CHOICES))
