"""Two experiments in one process, in every order: each reads and writes its own; and versions stay in order."""

import subprocess
import sys
import textwrap
from itertools import permutations
from pathlib import Path

import pandas as pd
import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from tiny_project import PROJECT

from transferlab.console.errors import UserError

PARAMETERS = """
dataset: {{source: {{name: folder, path: {name}}}}}
strategies: {{{name}: {{model: {{name: transferlab/convnet}}, stages: {{}}}}}}
report: {{title: {name}}}
"""
NAMES = ("apples", "pears")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project with two experiments, each of one strategy that has the experiment's name."""
    root = tmp_path_factory.mktemp("two")
    (root / "conf").mkdir()
    for name in ("base", "local", *NAMES):
        (root / "conf" / name).mkdir()
    (root / "conf" / "base" / "catalog.yml").write_text((PROJECT / "conf" / "base" / "catalog.yml").read_text())
    (root / "pyproject.toml").write_text((PROJECT / "pyproject.toml").read_text())
    (root / "src").mkdir()
    (root / "src" / "transferlab").symlink_to(PROJECT / "src" / "transferlab")
    for name in NAMES:
        (root / "conf" / name / "parameters.yml").write_text(PARAMETERS.format(name=name))
    return root


def context(project: Path, name: str):
    return KedroSession.create(project, env=name).load_context()


def is_of(catalog, project: Path, name: str) -> bool:
    """Whether a catalog reads and writes the experiment's own, with its parameters."""
    saved = project / "data" / "02_intermediate" / name / "ignored.csv"
    saved.unlink(missing_ok=True)
    catalog.save("ignored", pd.DataFrame({"path": [name], "status": "ignored", "reason": ""}))
    return (
        saved.is_file()
        and catalog.load("experiment") == name
        and catalog.load("params:dataset").source.path == name
        and set(catalog.load("params:strategies")) == {name}
        and list(catalog.load("ignored")["path"]) == [name]
    )


@pytest.mark.parametrize("order", [*permutations(NAMES), ("apples", "pears", "apples")])
def test_sessions_of_one_process_read_and_write_their_own(project, order):
    bootstrap_project(project)
    contexts = []
    for name in order:
        contexts.append((name, context(project, name)))
        assert f"{name}.train" in {node.name for node in pipelines["transfer"].nodes}
        assert is_of(contexts[-1][1].catalog, project, name)
    for name, earlier in contexts:
        assert is_of(earlier.catalog, project, name), "also when another was made since"


def test_a_project_that_is_configured_again_between_sessions_mixes_nothing(project):
    for name in (*NAMES, *NAMES):
        bootstrap_project(project)
        assert is_of(context(project, name).catalog, project, name)


RELOADS = """
import sys
from IPython.testing.globalipapp import start_ipython
shell = start_ipython()
from kedro.ipython import reload_kedro
for name in sys.argv[2:]:
    reload_kedro(sys.argv[1], env=name)
    catalog, pipelines = shell.user_ns["catalog"], shell.user_ns["pipelines"]
    catalog.save("acquired", {"path": name, "subfolder": ".", "note": ""})
    trained = {node.namespace for node in pipelines["transfer"].nodes} - {None, "data", "report"}
    found = [catalog.load("experiment"), catalog.load("params:dataset").source.path, *trained]
    found += [catalog.load("acquired")["path"]]
    assert set(found) == {name}, (name, found)
    print(name, catalog.get("acquired"), flush=True)
"""


def test_reloads_in_ipython_read_and_write_their_own(project):
    pytest.importorskip("IPython")
    order = ["apples", "pears", "apples"]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(RELOADS), str(project), *order],
        capture_output=True, text=True, cwd=project, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith(NAMES)]
    assert [line.split()[0] for line in told] == order
    assert all(f"01_raw/{name}/acquired.json" in line for name, line in zip(order, told, strict=True))


def test_a_clock_that_was_set_back_makes_no_version_older_than_one_that_exists(project, caplog):
    future, past = "2999-12-31T23.59.59.999Z", "2026-01-01T00.00.00.000Z"
    tables = project / "data" / "08_reporting" / "pears" / "metrics.csv"
    (tables / future).mkdir(parents=True)
    (tables / "not a version").mkdir()
    bootstrap_project(project)
    mine = context(project, "pears")._get_catalog(save_version=past)
    mine.save("comparison", pd.DataFrame({"strategy": ["pears"]}))
    (version,) = (project / "data" / "08_reporting" / "pears" / "comparison.csv").iterdir()
    assert version.name == mine.load("run_id") == "3000-01-01T00.00.00.000Z"
    assert "was the clock set back?" in caplog.text
    (tables / "9999-12-31T23.59.59.999Z").mkdir()
    with pytest.raises(UserError, match=r"no version can be newer than 9999.*: rename the folder"):
        context(project, "pears")._get_catalog(save_version=past)
    caplog.clear()
    other = context(project, "apples")._get_catalog(save_version=past)
    assert other.load("run_id") == past, "versions of another experiment do not matter"
    assert not caplog.records
