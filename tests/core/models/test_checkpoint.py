import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from tiny import STATISTICS, machine, same, strategy

from transferlab.core.models import factory
from transferlab.core.models.checkpoint import Checkpoint, CheckpointError

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
    config = strategy()
    initial = factory.initial(config.model, config.input, ["ants", "bees"], STATISTICS, 0)
    file = saved(tmp_path, initial)
    x = torch.rand(2, 3, 32, 32)
    torch.save(x, tmp_path / "x.pt")
    code = (
        "import pathlib, sys, torch\n"
        "from transferlab.core.models import factory\n"
        "from transferlab.core.models.checkpoint import Checkpoint\n"
        "from transferlab.core.runtime.device import Compute, resolve\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "checkpoint = Checkpoint.read(folder / 'checkpoint.safetensors')\n"
        "net = factory.load(checkpoint, resolve(Compute(device='cpu', threads=1)))\n"
        "torch.save(net.eval()(torch.load(folder / 'x.pt')).detach(), folder / 'y.pt')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(file.parent)], check=True)
    with torch.no_grad():
        assert torch.allclose(torch.load(tmp_path / "y.pt"), factory.load(initial, machine()).eval()(x), atol=1e-6)


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


WHOLE = Checkpoint(TENSORS, HEADER).to_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("flipped")


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_an_error_that_names_the_file_or_changes_nothing(folder, at, change):
    file = folder / "checkpoint.safetensors"
    file.write_bytes(WHOLE[:at] + bytes([WHOLE[at] ^ change]) + WHOLE[at + 1 :])
    try:
        found = Checkpoint.read(file)
    except CheckpointError as error:
        told = str(error)
    else:
        told = str(file) if is_whole(found) else "other values"
    assert str(file) in told


def is_whole(found):
    kinds = {name: tensor.dtype for name, tensor in TENSORS.items()}
    same_kinds = {name: tensor.dtype for name, tensor in found.tensors.items()} == kinds
    return same_kinds and same(found.tensors, TENSORS) and found.header == HEADER


def test_a_flipped_bit_of_a_weight_is_damage(folder):
    file = folder / "checkpoint.safetensors"
    file.write_bytes(WHOLE[:-1] + bytes([WHOLE[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors is damaged.*restore a copy"):
        Checkpoint.read(file)


def test_a_file_without_a_digest_is_refused(folder):
    save_file(TENSORS, folder / "other.safetensors", metadata={"transferlab": "{}"})
    with pytest.raises(CheckpointError, match=r"other\.safetensors is damaged"):
        Checkpoint.read(folder / "other.safetensors")


def test_a_lost_file_is_named(folder):
    with pytest.raises(CheckpointError, match=r"trial_3\.safetensors is gone"):
        Checkpoint.read(folder / "trial_3.safetensors")


@pytest.mark.parametrize("header", ["[]", "1", "[" * 100_000 + "]" * 100_000], ids=["list", "number", "deep"])
def test_a_header_that_is_no_object_is_an_error(tmp_path, header):
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(save({"x": torch.zeros(1)}, metadata={"transferlab": header}))
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors: not a checkpoint of transferlab"):
        Checkpoint.read(file)
