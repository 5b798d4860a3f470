"""What no setting, file or name may make the program do."""

import ast
from pathlib import Path

import click
import pytest

from transferlab.console.errors import UserError
from transferlab.core.models.backbones.weights_file import WeightsError, locate

PROJECT = Path(__file__).parents[1]
SOURCES = sorted((PROJECT / "src").rglob("*.py"))
# A call, and the keyword without which it may run what a file says (none: it always may).
MAY_RUN_CODE = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    **dict.fromkeys(("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "shelve.open"), None),
    **dict.fromkeys(("dill.load", "joblib.load", "cloudpickle.load", "pd.read_pickle", "pandas.read_pickle"), None),
    **dict.fromkeys(("yaml.load", "yaml.full_load", "yaml.unsafe_load", "torch.hub.load", "torch.jit.load"), None),
    **dict.fromkeys(("eval", "exec", "compile", "__import__", "os.system", "os.popen", "runpy.run_path"), None),
}

# What these unpickle comes through a pipe from a process that the program itself has started.
BETWEEN_OUR_PROCESSES = {"channel.py", "inbox.py"}


def calls_that_may_run_code(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        needs = MAY_RUN_CODE.get(name)
        given = {keyword.arg: keyword.value for keyword in node.keywords} if name else {}
        is_safe = needs and isinstance(given.get(needs[0]), ast.Constant) and given[needs[0]].value is needs[1]
        if name in MAY_RUN_CODE and not is_safe:
            found.append(name)
        if any(isinstance(value, ast.Constant) and key == "shell" and value.value for key, value in given.items()):
            found.append(f"{name}(shell=True)")
    return found


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.relative_to(PROJECT / "src").as_posix())
def test_no_source_runs_what_a_file_says(file):
    found = set(calls_that_may_run_code(file.read_text(encoding="utf-8")))
    assert found <= ({"pickle.loads"} if file.name in BETWEEN_OUR_PROCESSES else set())


def test_such_calls_are_found():
    source = "torch.load(f)\ntorch.load(f, weights_only=x)\nnp.load(f)\nrun(c, shell=True)\npickle.loads(b)\neval(s)"
    found = ["torch.load", "torch.load", "np.load", "run(shell=True)", "pickle.loads", "eval"]
    assert calls_that_may_run_code(source) == found
    assert calls_that_may_run_code("torch.load(f, weights_only=True)\nnp.load(f, allow_pickle=False)") == []


def test_a_packages_weights_are_found_without_importing_anything(tmp_path, monkeypatch):
    (tmp_path / "careless").mkdir()
    (tmp_path / "careless" / "__init__.py").write_text(f"open({str(tmp_path / 'it_ran')!r}, 'w')\n")
    (tmp_path / "careless" / "w.pth").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path)
    assert locate("package://careless/w.pth") == tmp_path / "careless" / "w.pth"
    for weights in ("package://careless.models/w.pth", "package:///w.pth", "package://../w.pth"):
        with pytest.raises(WeightsError, match="needs the Python package"):
            locate(weights)
    assert not (tmp_path / "it_ran").exists()


def test_a_message_cannot_command_the_terminal(capsys):
    with click.Context(click.Command("any")):
        UserError("\x1b]0;owned\x07 and \u202egpj.exe in\n'\udcff' but not 花").show()
    shown = capsys.readouterr().err
    assert shown == "Error: \\x1b]0;owned\\x07 and \\u202egpj.exe in\n'\\udcff' but not 花\n"
