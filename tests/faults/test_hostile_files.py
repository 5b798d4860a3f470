"""Checkpoints and weights that are damaged or made to do harm: read, or told of by name, and never run."""

import json
import os
import pickle
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from tiny import header

from transferlab.core.models.backbones import weights
from transferlab.core.models.backbones.weights_file import WeightsError
from transferlab.core.models.checkpoint import Checkpoint, CheckpointError

TENSORS = {"a.weight": torch.rand(2, 3), "a.steps": torch.tensor(7)}


def written(folder):
    """One file of each kind that is read again."""
    (folder / "checkpoint.safetensors").write_bytes(Checkpoint(TENSORS, header()).to_bytes())
    (folder / "weights.safetensors").write_bytes(save(TENSORS))
    torch.save(TENSORS, folder / "weights.pth")
    torch.save({"fc": TENSORS}, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def read(file):
    """Read a file as the program does."""
    return Checkpoint.read(file) if file.name.startswith("checkpoint") else weights.read(str(file))


def assert_read_or_told(file):
    try:
        return read(file)
    except (CheckpointError, WeightsError) as error:
        assert str(file) in str(error)  # noqa: PT017 - both ways are right
        return None


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return written(tmp_path_factory.mktemp("whole"))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore:TypedStorage")
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_is_told_by_the_files_name(whole, tmp_path, data):
    name = data.draw(st.sampled_from(sorted(whole)))
    content = bytearray(whole[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    (tmp_path / name).write_bytes(content)
    assert_read_or_told(tmp_path / name)


HEADERS = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**70) | st.text(max_size=5) | st.sampled_from(["F32", "F64", "BOOL"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["dtype", "shape", "data_offsets", "__metadata__", "transferlab", "format", "a"]),
            inner,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HEADERS, st.binary(max_size=40), st.none() | st.integers(0, 2**64 - 1))
def test_any_header_of_a_checkpoint_is_read_or_told(tmp_path, header, rest, length):
    text = json.dumps(header).encode()
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + rest)
    assert_read_or_told(file)


class Evil:
    """Makes a folder when a pickle of it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "weights.pth", "weights.safetensors"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["pickle", "torch", "legacy"])
def test_nothing_in_a_file_is_run(tmp_path, name, how):
    evil, file = {"fingerprint": Evil(tmp_path / "it_ran")}, tmp_path / name
    if how == "pickle":
        file.write_bytes(pickle.dumps(evil))
    else:
        torch.save(evil, file, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises((CheckpointError, WeightsError), match=name):
        read(file)
    assert not (tmp_path / "it_ran").exists()
