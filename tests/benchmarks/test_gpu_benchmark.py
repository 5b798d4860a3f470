import json
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import gpu, gpu_bench

CLASSES = ("airplane", "truck")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for part in ("train", "test"):
        for name in CLASSES:
            folder = root / "cifar10_images" / part / name
            folder.mkdir(parents=True)
            for number in range(40):
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{number}.png")
    return root


@pytest.fixture
def measured(data, tmp_path, monkeypatch):
    """Run the command with more options; return the parts of what it writes."""

    def run(*more):
        options = ["--device", "cpu", "--budget", "600", "--data", str(data), "--out", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", ["gpu", *options, *more])
        gpu.main()
        return json.loads((tmp_path / "gpu.json").read_text())["parts"]

    return run


@pytest.mark.usefixtures("from_a_fork_server")
def test_the_cpu_form_measures_every_part(measured):
    parts = measured()
    assert list(parts) == [part.title for part in gpu.PARTS.values()]
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


@pytest.mark.usefixtures("from_a_fork_server")
def test_parts_can_be_chosen(measured, monkeypatch):
    monkeypatch.setattr(gpu_bench.Bench, "large", property(lambda _: pytest.fail("it needs no images at 224 px")))
    parts = measured("--parts", "resnet18")
    assert list(parts) == ["CIFAR-10 from scratch"]
    assert len(parts["CIFAR-10 from scratch"]["curve"]) == 1


def test_a_mistyped_part_is_told_with_those_there_are(measured, capsys):
    with pytest.raises(SystemExit):
        measured("--parts", "resnet81")
    assert "invalid choice: 'resnet81'" in capsys.readouterr().err
