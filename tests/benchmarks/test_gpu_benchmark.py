import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PROJECT = Path(__file__).parents[2]
CLASSES = ("airplane", "truck")


@pytest.mark.slow
def test_the_cpu_form_measures_every_part(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in CLASSES:
            folder = tmp_path / "cifar10_images" / part / name
            folder.mkdir(parents=True)
            for number in range(40):
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{number}.png")
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--budget", "600"]
    subprocess.run(
        [*command, "--data", str(tmp_path), "--out", str(tmp_path / "out")],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": f"{PROJECT / 'src'}{os.pathsep}{PROJECT}"},
        check=True,
    )
    parts = json.loads((tmp_path / "out" / "gpu.json").read_text())["parts"]
    agreement = parts["agreement"]
    assert agreement["largest difference of losses, CPU and device"] == 0
    assert agreement["same bits from the host's memory and the device's"]
    assert agreement["same bits after an interruption"]
    assert parts["training"]["resnet18"]["ours"] > 0
    assert parts["training"]["resnet9_32px"]["bare loop"] > 0
    assert parts["frozen features"]["resnet18"] > 0
    assert 0 <= parts["CIFAR-10 from scratch"]["accuracy"] <= 1
    assert parts["CIFAR-10 in seconds"]["again"]["seconds"] > 0
    assert set(parts["two trials"]) == {"one after the other", "two at a time", "took"}
