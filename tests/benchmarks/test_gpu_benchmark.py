import json
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import gpu

CLASSES = ("airplane", "truck")


@pytest.mark.usefixtures("from_a_fork_server")
def test_the_cpu_form_measures_every_part(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in CLASSES:
            folder = tmp_path / "cifar10_images" / part / name
            folder.mkdir(parents=True)
            for number in range(40):
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{number}.png")
    options = ["--device", "cpu", "--budget", "600", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["gpu", *options])
    gpu.main()
    parts = json.loads((tmp_path / "out" / "gpu.json").read_text())["parts"]
    agreement = parts["agreement"]
    assert agreement["losses, CPU and device"]["all steps"] == 0
    assert agreement["same bits from the host's memory and the device's"]
    assert agreement["same bits after an interruption"]
    assert parts["training"]["resnet18"]["ours"] > 0
    assert parts["training"]["resnet9_32px"]["bare loop"] > 0
    assert parts["frozen features"]["resnet18"] > 0
    assert 0 <= parts["CIFAR-10 from scratch"]["accuracy"] <= 1
    assert parts["CIFAR-10 in seconds"]["again"]["seconds"] > 0
    assert set(parts["two trials"]) == {"one after the other", "two at a time", "took"}
