"""The real project with a tiny experiment of its own: learnable generated images, random weights as a weights file."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
from PIL import Image, ImageDraw

PROJECT = Path(__file__).parents[2]
KEDRO = Path(sys.executable).with_name("kedro")
BACKBONE = "tf_mobilenetv3_small_minimal_100"
STRATEGIES = ["scratch", "feature_extraction", "staged", "untrained"]
IMAGES = 40  # of each class
PARAMETERS = """
dataset:
  source: {name: folder, path: images}
  split: {test: 0.25, validation: 0.2}
  workers: 1
training: {trials: 2, seed: 1, compute: {device: cpu, precision: float32, threads: 1}}
_backbone: {name: timm/tf_mobilenetv3_small_minimal_100, weights: weights.pth}
_input: {size: 32, resize: 32}
_adamw: {name: adamw, lr: 3e-3}
strategies:
  scratch:
    model: {name: transferlab/convnet}
    input: ${_input}
    select: best
    stages:
      train: {epochs: 3, optimizer: "${_adamw}", augmentation: [{name: random_flip}], label_smoothing: 0.01}
  feature_extraction:
    model: ${_backbone}
    input: ${_input}
    stages:
      head: {epochs: 2, trainable: head, optimizer: "${_adamw}", augmentation: [{name: random_flip}], views: 2}
  staged:
    model: ${_backbone}
    input: ${_input}
    stages:
      head: {epochs: 1, trainable: head, optimizer: "${_adamw}"}
      tune: {epochs: 1, optimizer: "${_adamw}", schedule: {name: one_cycle}}
  untrained:
    model: ${_backbone}
    input: ${_input}
    stages: {}
report: {title: Shapes}
"""


class KedroServer:
    """`kedro` commands without the seconds of imports that each would begin with; see kedro_server.py.

    It begins again where it was killed: Ray may kill the children of a process that leaves a cluster.
    """

    def __init__(self) -> None:
        self._process = self._begun()

    def _begun(self) -> "subprocess.Popen[str]":
        command = [sys.executable, str(Path(__file__).with_name("kedro_server.py"))]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment({}))

    def __call__(
        self, *arguments: str, cwd: Path, environment: dict[str, str], **fault: object
    ) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryDirectory() as folder:
            output, errors = Path(folder, "output"), Path(folder, "errors")
            request = {"arguments": arguments, "cwd": str(cwd), "environment": environment, "output": str(output),
                       "errors": str(errors), "largest_file": None, "stop": None, **fault}  # fmt: skip
            if self._process.poll() == -signal.SIGKILL:
                self._process = self._begun()
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            return subprocess.CompletedProcess(arguments, code, output.read_text(), errors.read_text())

    def close(self) -> None:
        self._process.communicate()


class TinyProject:
    """A folder with the project's own pyproject, conf and sources, and the experiment `tiny`."""

    def __init__(self, root: Path, server: KedroServer) -> None:
        self.root, self.server = root, server
        shutil.copytree(PROJECT / "conf" / "base", root / "conf" / "base")
        for file in ("conf/logging.yml", "pyproject.toml", ".telemetry"):
            shutil.copy(PROJECT / file, root / file)
        (root / "src").mkdir()
        (root / "src" / "transferlab").symlink_to(PROJECT / "src" / "transferlab")
        for folder in ("local", "tiny"):
            (root / "conf" / folder).mkdir()
        (root / "conf" / "tiny" / "parameters.yml").write_text(PARAMETERS)
        make_images(root / "images")
        make_weights(root / "weights.pth")

    @classmethod
    def copy(cls, of: Path, root: Path, server: KedroServer) -> "TinyProject":
        """A copy of such a folder, with all that its runs have left."""
        project = cls.__new__(cls)
        project.root, project.server = shutil.copytree(of, root, symlinks=True), server
        return project

    def kedro(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command of the real command line, in a process of its own."""
        return self.server(*arguments, cwd=self.root, environment=_environment(environment))

    def faulty(self, *options: str, **fault: object) -> subprocess.CompletedProcess[str]:
        """`kedro run --env=tiny` that may write no file larger than `largest_file`, or gets `stop`: a signal and when.

        The signal comes when a line about a trial has these words.
        """
        return self.server("run", "--env=tiny", *options, cwd=self.root, environment=_environment({}), **fault)

    def in_new_process(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same from the very start, as a user's shell does it."""
        return subprocess.run(
            [KEDRO, *arguments], cwd=self.root, env=_environment({}), capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip

    def run(self, *options: str) -> str:
        """`kedro run --env=tiny` that must succeed; what it printed."""
        done = self.kedro("run", "--env=tiny", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def versions(self, path: str) -> list[str]:
        """The versions of a dataset below `data`, oldest first; its path says `{}` for the experiment's name."""
        folder = self.root / "data" / path.format("tiny")
        return sorted(version.name for version in folder.iterdir()) if folder.is_dir() else []

    def file(self, path: str, version: int = -1) -> Path:
        """The newest (or another) version of a dataset."""
        folder = self.root / "data" / path.format("tiny")
        return folder / self.versions(path)[version] / folder.name

    def table(self, path: str, version: int = -1) -> pd.DataFrame:
        """The newest (or another) version of a table."""
        file = self.file(path, version)
        return pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)

    def document(self, path: str) -> dict:
        """The newest version of a JSON document."""
        return json.loads(self.file(path).read_text())

    def files(self) -> set[Path]:
        """Every file below `data`."""
        return {file for file in (self.root / "data").rglob("*") if file.is_file()}


def _environment(more: dict[str, str]) -> dict[str, str]:
    """This process's own, without what would slow a command down or change what it prints."""
    own = {"PYTHONDONTWRITEBYTECODE", "KEDRO_ENV", "COLUMNS", "FORCE_COLOR", "UV", "UV_RUN_RECURSION_DEPTH"}
    return {key: value for key, value in os.environ.items() if key not in own} | more


def make_images(folder: Path) -> None:
    """Three classes of shapes on coloured noise, 32 px, and one torn file."""
    rng = np.random.default_rng(0)
    for kind in ("circle", "square", "stripes"):
        (folder / kind).mkdir(parents=True)
        for number in range(IMAGES):
            _image(kind, rng).save(folder / kind / f"{kind}_{number:02d}.png")
    whole = (folder / "circle" / "circle_00.png").read_bytes()
    (folder / "circle" / "torn.png").write_bytes(whole[: len(whole) // 4])


def _image(kind: str, rng: np.random.Generator) -> Image.Image:
    image = Image.fromarray(rng.normal(110, 25, (32, 32, 3)).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    x, y, size = (int(value) for value in rng.integers((2, 2, 8), (16, 16, 14)))
    if kind == "circle":
        draw.ellipse((x, y, x + size, y + size), fill=(220, 60, 40))
    elif kind == "square":
        draw.rectangle((x, y, x + size, y + size), fill=(60, 80, 220))
    else:
        for left in range(x % 6, 32, 6):
            draw.line((left, 0, left, 32), fill=(60, 200, 60), width=2)
    return image


def make_weights(file: Path) -> None:
    """Random weights of the backbone, as somebody would keep their own."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(timm.create_model(BACKBONE).state_dict(), file)
