"""What `--params` and `--config` cannot take is told in one line."""

import click
import pytest

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
