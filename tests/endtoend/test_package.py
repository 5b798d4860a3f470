"""The wheel, installed into a folder of its own, runs a project that is nothing but `conf` and photographs."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tiny_project import PARAMETERS, PROJECT, make_images, make_weights

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("uv") is None, reason="the wheel is built with uv")]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder to import the package from, made of the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        ["uv", "build", "--wheel", "--out-dir", folder, PROJECT], capture_output=True, text=True, check=False
    )
    if built.returncode:
        pytest.skip(f"uv cannot build here: {built.stderr[-300:]}")
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_the_wheel_runs_with_a_conf_source(installed, tmp_path):
    for folder in ("base", "local", "tiny"):
        (tmp_path / "conf" / folder).mkdir(parents=True)
    shutil.copy(PROJECT / "conf" / "base" / "catalog.yml", tmp_path / "conf" / "base")
    (tmp_path / "conf" / "tiny" / "parameters.yml").write_text(PARAMETERS)
    make_images(tmp_path / "images")
    make_weights(tmp_path / "weights.pth")
    done = subprocess.run(
        [sys.executable, "-m", "transferlab", "--conf-source=conf", "--env=tiny", "--pipeline=data"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-2].startswith("Data: 3 classes, 120 images")
    assert (tmp_path / "data" / "03_primary" / "tiny").is_dir()


def test_the_wheel_has_a_console_script_and_what_it_reads(installed):
    (scripts,) = installed.glob("*.dist-info/entry_points.txt")
    assert "transferlab = transferlab.__main__:main" in scripts.read_text()
    assert list((installed / "transferlab").rglob("*.j2"))
