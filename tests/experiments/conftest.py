"""A copy of the project with all experiments, and a file server for what they download."""

import http.server
import os
import shutil
import subprocess
import threading
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import timm
import torch
from tiny_project import KedroServer

PROJECT = Path(__file__).parents[2]
TINY = "test_resnet"  # timm's own, for tests


class ProjectCopy:
    """A folder with the project's own pyproject, conf and sources, and weights for a tiny network."""

    def __init__(self, root: Path, server: KedroServer) -> None:
        self.root, self.server = root, server
        shutil.copytree(PROJECT / "conf", root / "conf", ignore=shutil.ignore_patterns("local"))
        (root / "conf" / "local").mkdir()
        for file in ("pyproject.toml", ".telemetry"):
            shutil.copy(PROJECT / file, root / file)
        (root / "src").mkdir()
        (root / "src" / "transferlab").symlink_to(PROJECT / "src" / "transferlab")
        torch.save(timm.create_model(TINY).state_dict(), root / "tiny.pth")

    def kedro(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the real command line."""
        environment = {
            key: value for key, value in os.environ.items() if key not in ("KEDRO_ENV", "TRANSFERLAB_MIRROR")
        }
        return self.server(*arguments, cwd=self.root, environment=environment)

    def run(self, experiment: str, *params: str, pipeline: str = "transfer", to: str | None = None) -> str:
        """A run that must succeed, on one thread; what it printed."""
        options = [f"--pipeline={pipeline}", f"--env={experiment}", *([f"--to-nodes={to}"] if to else [])]
        given = ",".join([*params, "training.compute.device=cpu", "training.compute.threads=1", "dataset.workers=1"])
        done = self.kedro("run", *options, f"--params={given}")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def table(self, path: str) -> pd.DataFrame:
        """The newest version of a table below `data`."""
        file = self.root / "data" / path
        if file.is_dir():
            file = max(file.iterdir()) / file.name
        return pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)

    def report(self, experiment: str) -> str:
        """The newest report page."""
        folder = self.root / "data" / "08_reporting" / experiment / "report.html"
        return (max(folder.iterdir()) / "report.html").read_text()


@pytest.fixture(scope="session")
def project(tmp_path_factory, server) -> ProjectCopy:
    return ProjectCopy(tmp_path_factory.mktemp("project"), server)


@pytest.fixture
def serve():
    """Serve a folder over HTTP: its address."""
    servers = []

    def start(folder: Path) -> str:
        handler = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
        threading.Thread(target=partial(server.serve_forever, poll_interval=0.01), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
