import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from tiny import STATISTICS, machine, same, strategy

from transferlab.core import network
from transferlab.core.checkpoint import Checkpoint, CheckpointError

TENSORS = {"a.weight": torch.rand(2, 3), "a.steps": torch.tensor(7)}
HEADER = {"classes": ["ants", "bees äöü"], "view": {"mean": [0.1, 0.2, 0.3]}, "epoch": 3, "best": None}


def saved(folder, checkpoint):
    file = folder / "checkpoint.safetensors"
    file.write_bytes(checkpoint.to_bytes())
    return file


def test_weights_and_header_come_back(tmp_path):
    read = Checkpoint.read(saved(tmp_path, Checkpoint(TENSORS, HEADER)))
    assert same(read.tensors, TENSORS)
    assert read.header == HEADER


def test_the_same_checkpoint_is_the_same_bytes():
    shuffled = Checkpoint(dict(reversed(TENSORS.items())), dict(reversed(HEADER.items())))
    assert Checkpoint(TENSORS, HEADER).to_bytes() == shuffled.to_bytes()


def test_tensors_of_any_memory_layout_are_stored(tmp_path):
    strided = {"conv": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last), "t": torch.rand(3, 2).T}
    assert same(Checkpoint.read(saved(tmp_path, Checkpoint(strided, {}))).tensors, strided)


def test_a_checkpoint_alone_makes_the_network(tmp_path):
    initial = network.initial(strategy(), ["ants", "bees"], STATISTICS, 0)
    file = saved(tmp_path, initial)
    x = torch.rand(2, 3, 32, 32)
    torch.save(x, tmp_path / "x.pt")
    code = (
        "import pathlib, sys, torch\n"
        "from transferlab.core import network\n"
        "from transferlab.core.checkpoint import Checkpoint\n"
        "from transferlab.core.device import Compute, choose\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "checkpoint = Checkpoint.read(folder / 'checkpoint.safetensors')\n"
        "net = network.load(checkpoint, choose(Compute(device='cpu', threads=1)))\n"
        "torch.save(net.eval()(torch.load(folder / 'x.pt')).detach(), folder / 'y.pt')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(file.parent)], check=True)
    with torch.no_grad():
        assert torch.allclose(torch.load(tmp_path / "y.pt"), network.load(initial, machine()).eval()(x), atol=1e-6)


@pytest.mark.parametrize("damage", ["empty", "short", "text", "pickle", "foreign", "no_json"])
def test_any_other_file_is_refused_by_name(tmp_path, damage):
    whole = Checkpoint(TENSORS, HEADER).to_bytes()
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes({"empty": b"", "short": whole[:-5], "text": b"no weights at all"}.get(damage, b""))
    if damage == "pickle":
        torch.save(TENSORS, file)
    elif damage == "foreign":
        save_file(TENSORS, file)
    elif damage == "no_json":
        save_file(TENSORS, file, metadata={"transferlab": "{"})
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors: not a checkpoint of transferlab"):
        Checkpoint.read(file)
