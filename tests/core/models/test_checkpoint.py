import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save, save_file
from tiny import STATISTICS, header, machine, same, strategy

from transferlab.core.inference.predict import predict
from transferlab.core.models import factory
from transferlab.core.models.checkpoint import Checkpoint, CheckpointError
from transferlab.core.models.checkpoint_header import FORMAT, CheckpointHeader

FORMAT_0 = Path(__file__).parent / "files" / "checkpoint_format_0.safetensors"
TENSORS = {"a.weight": torch.rand(2, 3), "a.steps": torch.tensor(7)}
HEADER = header(classes=("ants", "bees äöü"), epoch=3, metrics={"test": {"loss": 0.5}}, recipe={"stages": {"a": None}})


def saved(folder, checkpoint):
    file = folder / "checkpoint.safetensors"
    file.write_bytes(checkpoint.to_bytes())
    return file


def test_weights_and_header_come_back(tmp_path):
    file = saved(tmp_path, Checkpoint(TENSORS, HEADER))
    read = Checkpoint.read(file)
    assert same(read.tensors, TENSORS)
    assert read.header == HEADER
    assert read.path == file


def test_the_same_checkpoint_is_the_same_bytes():
    shuffled = Checkpoint(dict(reversed(TENSORS.items())), HEADER)
    assert Checkpoint(TENSORS, HEADER).to_bytes() == shuffled.to_bytes()


def test_tensors_of_any_memory_layout_are_stored(tmp_path):
    strided = {"conv": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last), "t": torch.rand(3, 2).T}
    assert same(Checkpoint.read(saved(tmp_path, Checkpoint(strided, HEADER))).tensors, strided)


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
        "from transferlab.core.runtime.compute import Compute\n"
        "from transferlab.core.runtime.device import resolve\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "checkpoint = Checkpoint.read(folder / 'checkpoint.safetensors')\n"
        "net = factory.load(checkpoint, resolve(Compute(device='cpu', threads=1)))\n"
        "torch.save(net(torch.load(folder / 'x.pt')).detach(), folder / 'y.pt')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(file.parent)], check=True)
    with torch.no_grad():
        assert torch.allclose(torch.load(tmp_path / "y.pt"), factory.load(initial, machine())(x), atol=1e-6)


# ---- files of the first format ---------------------------------------------------------------------------------------
def gradients(folder):
    """Two small images: red and green rise in one, green in the other, which is blue."""
    for number in range(2):
        image_HWC = np.zeros((12, 16, 3), np.uint8)
        image_HWC[..., 0] = np.arange(16) * 16 * number
        image_HWC[..., 1] = np.arange(12)[:, None] * 20
        image_HWC[..., 2] = 255 * (1 - number)
        Image.fromarray(image_HWC).save(folder / f"{number}.png")
    return [folder / "0.png", folder / "1.png"]


def test_a_file_of_format_0_is_read_and_predicts_what_it_did(tmp_path):
    old = Checkpoint.read(FORMAT_0)
    assert (old.header.model, old.header.weights, old.header.classes) == ("transferlab/convnet", None, ("red", "blue"))
    assert (old.header.strategy, old.header.trial, old.header.epoch) == ("tiny", 2, 1)
    assert old.header.recipe is None
    told = predict(old, gradients(tmp_path), machine())
    assert list(told["prediction"]) == ["blue", "red"]
    assert list(told["p_red"]) == pytest.approx([0.3302000511912982, 0.9987914499956047], abs=1e-5)
    assert Checkpoint.read(saved(tmp_path, old)).header == old.header, "written again, it has the new format"


def test_weights_that_no_library_knows_any_longer_do_not_matter(tmp_path):
    old = Checkpoint.read(FORMAT_0)
    renamed = dataclasses.replace(old, header=dataclasses.replace(old.header, weights="a_tag_that_was_renamed"))
    read = Checkpoint.read(saved(tmp_path, renamed))
    assert same(factory.load(read, machine()).state_dict(), old.tensors)


# ---- files that cannot be used ---------------------------------------------------------------------------------------
def with_header(folder, change):
    """A sound file whose header somebody has changed."""
    with safe_open(FORMAT_0, framework="pt") as file:
        values = json.loads(file.metadata()["transferlab"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    values.pop("sha256")
    change(values)
    path = folder / "trial_0.safetensors"
    path.write_bytes(Checkpoint(tensors, AnyHeader(values)).to_bytes())
    return path


@dataclasses.dataclass
class AnyHeader:
    """Writes any values as a header, sealed as a right one is."""

    values: dict

    def to_json(self):
        return self.values


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda h: h.pop("classes"), "'classes' is missing"),
        (lambda h: h.pop("model"), "'model.name' is missing"),
        (lambda h: h.pop("view"), "'view' is missing"),
        (lambda h: h["view"].pop("size"), "'view.size' is missing"),
        (lambda h: h.update(classes="red"), "'classes' must be a list, not 'red'"),
        (lambda h: h.update(classes=["red", 2]), r"'classes\[1\]' must be text, not 2"),
        (lambda h: h.update(classes=[]), "'classes' must be distinct names"),
        (lambda h: h.update(classes=["red", "red"]), "'classes' must be distinct names"),
        (lambda h: h["model"].update(name=None), "'model' must be text, not None"),
        (lambda h: h["view"].update(size=10**6), "'view.size' must be from 1 to 16384 px"),
        (lambda h: h["view"].update(size=32.0), "'view.size' must be a whole number, not 32.0"),
        (lambda h: h["view"].update(mode="long_side"), "'view.mode' must be one of short_side, squash"),
        (lambda h: h["view"].update(std=[0, 1, 1]), "std positive"),
        (lambda h: h["view"].update(mean=[float("nan"), 1, 1]), "must be finite"),
        (lambda h: h["view"].update(mean=[1, 1]), "'view.mean' must be a list of 3"),
        (lambda h: h.update(trial="one"), "'trial' must be a whole number, not 'one'"),
        (lambda h: h.update(format=FORMAT + 1), f"its format is {FORMAT + 1}, and this version .* up to {FORMAT}"),
        (lambda h: h.update(metrics=[1]), r"'metrics' must be an object, not \[1\]"),
    ],
)
def test_a_header_that_cannot_be_used_is_one_line_that_says_why(tmp_path, change, told):
    path = with_header(tmp_path, change)
    with pytest.raises(CheckpointError, match=rf"trial_0\.safetensors: its header .*{told}.*; run it") as caught:
        Checkpoint.read(path, "run it")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda h: h.update(classes=["a", "b", "c"]), r"'head\.weight' has shape \(2, 512\), not \(3, 512\)"),
        (lambda h: h["model"].update(name="timm/test_resnet"), "not a timm/test_resnet for 2 classes .* lacks"),
        (lambda h: h["model"].update(name="timm/no_such"), "no network 'timm/no_such' can be built"),
        (lambda h: h["view"].update(size=16), r"not a transferlab/convnet for 2 classes at 16 px: .*has shape"),
        (lambda h: h["head"].append("neck"), "names a head that it has not: neck"),
        (lambda h: h["pretrained"].append("neck"), "names tensors that it has not: neck"),
    ],
)
def test_weights_that_do_not_fit_the_header_are_told_by_the_files_name(tmp_path, change, told):
    checkpoint = Checkpoint.read(with_header(tmp_path, change))
    with pytest.raises(CheckpointError, match=rf"trial_0\.safetensors: .*{told}.*run the node") as caught:
        factory.load(checkpoint, machine())
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_told(tmp_path):
    old = Checkpoint.read(FORMAT_0)
    tensors = {name: tensor.clone() for name, tensor in old.tensors.items()}
    tensors["head.bias"][0] = float("nan")
    path = saved(tmp_path, Checkpoint(tensors, old.header))
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors: 'head\.bias' holds NaN or infinite weights"):
        Checkpoint.read(path)


ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
JSON = st.recursive(ATOMS, st.lists, max_leaves=3)


@given(st.sampled_from([field.name for field in dataclasses.fields(CheckpointHeader)]), JSON)
def test_any_value_of_any_key_is_read_or_told(key, value):
    values = {**HEADER.to_json(), key: value}
    try:
        assert CheckpointHeader.from_json(values).to_json().keys() == values.keys()
    except ValueError as error:
        assert key in str(error) or values["format"] == 0  # noqa: PT017 - both ways are right


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


@pytest.mark.parametrize("text", ["[]", "1", "[" * 100_000 + "]" * 100_000], ids=["list", "number", "deep"])
def test_a_header_that_is_no_object_is_an_error(tmp_path, text):
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(save({"x": torch.zeros(1)}, metadata={"transferlab": text}))
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors: not a checkpoint of transferlab"):
        Checkpoint.read(file)
