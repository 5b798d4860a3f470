"""Exports that are really run by onnxruntime."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tiny import STATISTICS, machine, photographs, strategy

from transferlab.core.inference import export, standalone
from transferlab.core.inference.predict import predict
from transferlab.core.models import factory
from transferlab.core.models.backbones.model import Model
from transferlab.core.transforms.input import Input

pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("onnxscript", reason="the extra `export` is not installed")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    found = []
    for number, image_HWC in enumerate(photographs(9)[0]):
        found.append(folder / f"{number}.png")
        Image.fromarray(image_HWC).save(found[-1])
    return found


def checkpoint(name):
    return factory.initial(Model(name=name), Input(size=32, resize=36), ["red", "blue"], STATISTICS, 0)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("exported") / "model"
    export.export_onnx(checkpoint("timm/test_resnet"), files, folder, {"licence": "CC0"})
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
    assert about["compared_with_torch"]["largest_difference"] <= export.TOLERANCE


def test_the_script_predicts_what_we_do(exported, files):
    script = exported / "predict.py"
    assert len(script.read_text().splitlines()) <= 40
    ran = subprocess.run([sys.executable, str(script), *map(str, files)], check=True, capture_output=True, text=True)
    told = [line.split("\t") for line in ran.stdout.splitlines()]
    expected = predict(checkpoint("timm/test_resnet"), files, machine())
    assert [path for path, _, _ in told] == list(expected["path"])
    assert [prediction for _, prediction, _ in told] == list(expected["prediction"])
    probabilities = expected[["p_red", "p_blue"]].max(axis=1)
    assert [float(p) for _, _, p in told] == pytest.approx(list(probabilities), abs=1e-3)


@pytest.mark.parametrize("held_out", ["centre_crop", "squash"])
@pytest.mark.parametrize("mode", ["short_side", "squash"])
@pytest.mark.parametrize("size", [(40, 48), (31, 64), (90, 33), (20, 25)])
def test_the_script_sees_the_pixels_that_we_see(tmp_path, size, mode, held_out):
    config = Input(size=24, resize=30, mode=mode, held_out=held_out, interpolation="bilinear")
    view = factory.view_of(strategy().model, config, STATISTICS)
    (image_HWC,), _ = photographs(1, size=size)
    Image.fromarray(image_HWC).save(tmp_path / "a.png")
    (ours_13SS,) = export._pixels([tmp_path / "a.png"], view)
    theirs_13SS = standalone.load(tmp_path / "a.png", 24, 30, mode, held_out, "bilinear")
    assert np.abs(theirs_13SS - ours_13SS.numpy()).max() <= 1.01 / 255, "Pillow cuts to whole grey levels"


def test_an_export_that_differs_is_refused_and_nothing_is_written(tmp_path, files):
    with pytest.raises(export.ExportError, match=r"gives other probabilities than torch .*nothing is written"):
        export.export_onnx(checkpoint("transferlab/convnet"), files, tmp_path / "model", tolerance=-1.0)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(export.ExportError, match="no image to compare"):
        export.export_onnx(checkpoint("transferlab/convnet"), [], tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_and_a_missing_package_are_told(exported, files, monkeypatch):
    with pytest.raises(export.ExportError, match="exists: choose another folder"):
        export.export_onnx(checkpoint("transferlab/convnet"), files, exported)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(export.ExportError, match=r"export needs onnxscript: install the extra `export`"):
        export.export_onnx(checkpoint("transferlab/convnet"), files, exported.with_name("other"))
