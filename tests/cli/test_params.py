"""What `--params` takes is told in one line where YAML cannot read it."""

import click
import pytest

from transferlab.cli.run import run


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
