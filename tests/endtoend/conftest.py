"""One real run of the whole pipeline, shared by all tests here; whoever needs an untouched project asks for `fresh`."""

import pytest
from network import watched
from tiny_project import TinyProject


@pytest.fixture(scope="session")
def first_run(tmp_path_factory, server) -> tuple[TinyProject, str]:
    """The tiny project after `kedro run --pipeline=transfer --env=tiny`, and what that printed.

    Whom it asked on the network is in the file `network.log`, if anybody, though nothing there declines telemetry.
    """
    project = TinyProject(tmp_path_factory.mktemp("tiny"), server)
    declined = (project.root / ".telemetry").rename(project.root / "telemetry")
    with watched(project.root / "network.log"):
        done = project.in_new_process("run", "--pipeline=transfer", "--env=tiny")
    declined.rename(project.root / ".telemetry")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return project, done.stdout


@pytest.fixture(scope="session")
def tiny(first_run) -> TinyProject:
    """The tiny project after a whole run. Later runs add versions to it."""
    return first_run[0]


@pytest.fixture
def fresh(tmp_path, server) -> TinyProject:
    """The tiny project in which nothing has run."""
    return TinyProject(tmp_path, server)
