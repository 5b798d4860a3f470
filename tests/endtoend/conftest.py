"""One real run of the whole pipeline, shared by all tests here; whoever needs an untouched project asks for `fresh`."""

import json
from pathlib import Path

import pytest
from network import watched
from tiny_project import TinyProject

from transferlab.core.files.atomic import lock


@pytest.fixture(scope="session")
def untouched(tmp_path_factory, server, worker_id) -> tuple[Path, str]:
    """The folder of the tiny project after its first run, to copy and never to change, and what that run printed.

    One of pytest's workers runs it for all. Whom it asked on the network is in the file `network.log`, if anybody,
    though nothing there declines telemetry.
    """
    own = tmp_path_factory.mktemp("tiny")
    of_all = own if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    ran = of_all / "first_run.json"
    with lock(of_all, wait=True):
        if not ran.exists():
            project = TinyProject(own / "project", server)
            ran.write_text(json.dumps([str(project.root), _printed_by_first_run(project)]))
    root, printed = json.loads(ran.read_text())
    return Path(root), printed


@pytest.fixture(scope="session")
def first_run(untouched, tmp_path_factory, server) -> tuple[TinyProject, str]:
    """The tiny project after `kedro run --pipeline=transfer --env=tiny`, and what that printed: this worker's copy."""
    root, printed = untouched
    return TinyProject.copy(root, tmp_path_factory.mktemp("tiny") / "copy", server), printed


def _printed_by_first_run(project: TinyProject) -> str:
    declined = (project.root / ".telemetry").rename(project.root / "telemetry")
    with watched(project.root / "network.log"):
        done = project.in_new_process("run", "--pipeline=transfer", "--env=tiny")
    declined.rename(project.root / ".telemetry")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="session")
def tiny(first_run) -> TinyProject:
    """The tiny project after a whole run. Later runs add versions to it."""
    return first_run[0]


@pytest.fixture
def fresh(tmp_path, server) -> TinyProject:
    """The tiny project in which nothing has run."""
    return TinyProject(tmp_path, server)
