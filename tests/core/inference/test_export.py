"""Exports that are really run, by onnxruntime, torch and timm."""

import json
import subprocess
import sys

import imagecodecs
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from tiny import STATISTICS, header, machine, photographs, strategy

from transferlab.core.data.decoding.levels import Levels
from transferlab.core.inference.export import deployed, standalone
from transferlab.core.inference.export.deployed import ExportError, Photograph
from transferlab.core.inference.export.int8 import Int8
from transferlab.core.inference.export.write import Export, export
from transferlab.core.inference.predict import predict
from transferlab.core.models import factory
from transferlab.core.models.backbones.model import Model, Pooled
from transferlab.core.transforms.input import Input

pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("onnxscript", reason="the extra `export` is not installed")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    found = []
    for number, (image_HWC, label) in enumerate(zip(*photographs(9), strict=True)):
        found.append(Photograph(folder / f"{number}.png", int(label)))
        Image.fromarray(image_HWC).save(found[-1].path)
    return found


def checkpoint(name, pooled=None):
    model = Model(name=name, pooled=pooled)
    return factory.initial(model, Input(size=32, resize=36), ["red", "blue"], STATISTICS, 0)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("exported") / "model"
    export(checkpoint("timm/test_resnet"), files, folder, Export(about={"licence": "CC0"}))
    return folder


def test_the_folder_says_what_the_model_is(exported):
    about = json.loads((exported / "model.json").read_text())
    assert about["classes"] == ["red", "blue"]
    assert about["input"] == {
        "size": 32,
        "resize": 36,
        "mode": "short_side",
        "held_out": "centre_crop",
        "interpolation": "bilinear",
    }
    assert about["licence"] == "CC0"
    assert about["compared_with_torch"]["images"] == 9
    assert about["compared_with_torch"]["batch_sizes"] == [1, 7, 64]
    assert about["compared_with_torch"]["largest_difference"] <= deployed.TOLERANCE


def check_script(folder, files, name):
    script = folder / "predict.py"
    assert len(script.read_text().splitlines()) <= 64
    paths = [one.path for one in files]
    ran = subprocess.run([sys.executable, str(script), *map(str, paths)], check=True, capture_output=True, text=True)
    told = [line.split("\t") for line in ran.stdout.splitlines()]
    expected = predict(checkpoint(name), paths, machine())
    assert [path for path, _, _ in told] == list(expected["path"])
    assert [prediction for _, prediction, _ in told] == list(expected["prediction"])
    probabilities = expected[["p_red", "p_blue"]].max(axis=1)
    assert [float(p) for _, _, p in told] == pytest.approx(list(probabilities), abs=1e-4)


def test_the_script_predicts_what_we_do(exported, files):
    check_script(exported, files, "timm/test_resnet")


def test_the_script_says_which_photographs_it_cannot_use_and_predicts_the_others(exported, files, tmp_path):
    (tmp_path / "torn.png").write_bytes(files[0].path.read_bytes()[:200])
    paths = [files[0].path, tmp_path / "torn.png", tmp_path / "lost.png", files[1].path]
    command = [sys.executable, str(exported / "predict.py"), *map(str, paths)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode == 1
    assert [line.split("\t")[0] for line in ran.stdout.splitlines()] == [str(paths[0]), str(paths[3])]
    *reasons, total = ran.stderr.splitlines()
    assert [reason.split(" cannot be used: ")[0] for reason in reasons] == [str(path) for path in paths[1:3]]
    assert total == "2 of 4 photographs cannot be used"


def test_a_program_of_torch_predicts_what_we_do_to_the_bit_and_so_does_its_script(tmp_path, files):
    about = export(checkpoint("transferlab/convnet"), files, tmp_path / "model", Export(kind="torch"))
    assert about["compared_with_torch"]["largest_difference"] < 1e-6
    assert {file.name for file in (tmp_path / "model").iterdir()} == {"model.pt2", "model.json", "predict.py"}
    assert "onnx" not in (tmp_path / "model" / "predict.py").read_text()
    check_script(tmp_path / "model", files, "transferlab/convnet")


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_head_on_several_stages_is_exported_with_them(tmp_path, files, kind):
    about = export(
        checkpoint("timm/test_resnet", Pooled(flips="half_turn")), files, tmp_path / "model", Export(kind=kind)
    )
    assert about["pooled"] == {"stages": 4, "deviations": True, "flips": "half_turn"}
    assert about["compared_with_torch"]["largest_difference"] < 1e-5
    assert not (tmp_path / "model" / "config.json").exists(), "timm has no such head"


def test_timm_opens_the_folder_as_the_network_that_was_trained(exported):
    opened = timm.create_model(f"local-dir:{exported}", pretrained=True).eval()
    ours = factory.load(checkpoint("timm/test_resnet"), machine())
    x_B3SS = torch.rand(3, 3, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(opened(x_B3SS), ours(x_B3SS), atol=1e-6)
    assert opened.pretrained_cfg["label_names"] == ["red", "blue"]


@pytest.mark.parametrize("held_out", ["centre_crop", "squash"])
@pytest.mark.parametrize("mode", ["short_side", "squash"])
def test_timm_shows_the_network_what_we_do(tmp_path, mode, held_out):
    config = Input(size=24, resize=30, mode=mode, held_out=held_out, interpolation="bilinear")
    trained = factory.initial(Model(name="timm/test_resnet"), config, ["red", "blue"], STATISTICS, 0)
    ramp_HW = np.linspace(0, 255, 80, dtype=np.uint8)[None].repeat(40, 0)
    Image.fromarray(np.stack([ramp_HW] * 3, axis=2)).save(tmp_path / "a.png")
    photograph = Photograph(tmp_path / "a.png", 0)
    export(trained, [photograph], tmp_path / "model", Export())
    opened = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True)
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=opened))
    theirs_3SS = transform(Image.open(tmp_path / "a.png"))
    ((ours_13SS, _),) = deployed.batches([photograph], trained.header)
    std_311 = torch.tensor(trained.header.view.std)[:, None, None]
    mean_311 = torch.tensor(trained.header.view.mean)[:, None, None]
    assert ((theirs_3SS * std_311 + mean_311) - ours_13SS[0]).abs().max() < 0.02


def test_int8_is_measured_and_refused_where_it_costs_too_much(tmp_path, files):
    network = checkpoint("timm/test_resnet")
    about = export(network, files, tmp_path / "model", Export(int8=Int8(files, margin=1.0)))
    assert about["int8"]["calibrated_on"] == about["int8"]["images"] == 9
    assert about["int8"]["bytes"] < about["int8"]["bytes_float32"]
    assert (tmp_path / "model" / "model.onnx").stat().st_size == about["int8"]["bytes"]
    assert not list((tmp_path / "model").glob("*.*.onnx"))
    with pytest.raises(ExportError, match=r"in int8 it gets .* points less: nothing is written"):
        export(network, files, tmp_path / "other", Export(int8=Int8(files, margin=-1.0)))
    unlabelled = [one._replace(label=None) for one in files]
    with pytest.raises(ExportError, match="no labelled image to measure accuracy on"):
        export(network, unlabelled, tmp_path / "other", Export(int8=Int8(files)))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("held_out", ["centre_crop", "squash"])
@pytest.mark.parametrize("mode", ["short_side", "squash"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    "shape", [(160, 192), (65, 128), (190, 66), (20, 25), (25, 100), (40, 60), (48, 500), (64, 64)]
)
@pytest.mark.parametrize(("size", "resize"), [(56, 64), (64, 64), (104, 120)])
def test_the_script_sees_the_pixels_that_we_see(tmp_path, shape, size, resize, interpolation, mode, held_out):
    config = Input(size=size, resize=resize, mode=mode, held_out=held_out, interpolation=interpolation)
    seen = header(view=factory.view_of(strategy().model, config, STATISTICS))
    noise_HWC = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    Image.fromarray(noise_HWC).save(tmp_path / "a.png")
    ((ours_13SS, _),) = deployed.batches([Photograph(tmp_path / "a.png")], seen)
    theirs_13SS = standalone.load(tmp_path / "a.png", size, resize, mode, held_out, interpolation)
    assert theirs_13SS.dtype == np.float32
    assert np.abs(theirs_13SS - ours_13SS.numpy()).max() < 1e-4, "whether enlarged or not"


@pytest.mark.parametrize("shape", [(40, 40), (40, 40, 3)])
def test_values_of_more_than_8_bits_are_seen_at_the_levels_of_the_data_set(tmp_path, shape):
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(np.full(shape, 3000, dtype=np.uint16)))
    ((x_13SS, _),) = deployed.batches([Photograph(tmp_path / "a.png")], header(levels=Levels(low=0, high=4000)))
    assert x_13SS.mean() == pytest.approx(0.75, abs=0.01)
    with pytest.raises(ValueError, match=r"a\.png has values of more than 8 bits"):
        standalone.load(tmp_path / "a.png", 24, 30, "short_side", "centre_crop", "bilinear")


def test_an_export_that_differs_is_refused_and_nothing_is_written(tmp_path, files):
    convnet = checkpoint("transferlab/convnet")
    with pytest.raises(ExportError, match=r"gives other probabilities than torch .*nothing is written"):
        export(convnet, files, tmp_path / "model", Export(tolerance=-1.0))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ExportError, match="no image to compare"):
        export(convnet, [], tmp_path / "model", Export(kind="torch"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_and_a_missing_package_are_told(exported, files, monkeypatch):
    convnet = checkpoint("transferlab/convnet")
    with pytest.raises(ExportError, match="exists: choose another folder"):
        export(convnet, files, exported, Export())
    with pytest.raises(ExportError, match="int8 is made by onnxruntime"):
        export(convnet, files, exported.with_name("other"), Export(kind="torch", int8=Int8(files)))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ExportError, match=r"export needs onnxscript: install the extra `export`"):
        export(convnet, files, exported.with_name("other"), Export())
