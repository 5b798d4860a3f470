"""Many images in parts: found = predicted + refused, the same table as at once, metrics where labels are known."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny import STATISTICS, machine, photographs

from transferlab.core.evaluation.metrics import scores
from transferlab.core.inference.predict import predict_files, table
from transferlab.core.models import factory
from transferlab.core.models.backbones.model import Model
from transferlab.core.transforms.input import Input
from transferlab.datasets.table import TableDataset, written_in_parts
from transferlab.pipelines.predict import bulk, nodes

CLASSES = ["=red", "blue"]  # a spreadsheet would run the first


@pytest.fixture(scope="module")
def checkpoint():
    return factory.initial(Model(name="timm/test_resnet"), Input(size=32, resize=36), CLASSES, STATISTICS, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven images in folders named after their classes, and a file that is none."""
    folder = tmp_path_factory.mktemp("images")
    for number, (image_HWC, label) in enumerate(zip(*photographs(7), strict=True)):
        (folder / CLASSES[label]).mkdir(exist_ok=True)
        Image.fromarray(image_HWC).save(folder / CLASSES[label] / f"{number}.png")
    (folder / "blue" / "torn.png").write_text("torn")
    return folder


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_table_written_in_parts_is_the_table(checkpoint, folder, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(bulk, "ROWS", 3)
    file = tmp_path / f"predictions{suffix}"
    with written_in_parts(file) as write:
        tally = bulk.predict_all([checkpoint], [str(folder)], machine(), write, workers=0)
    assert (tally.found, tally.refused) == (8, 1)
    files = sorted(folder.rglob("*.png"))
    expected = table(predict_files([checkpoint], files, machine(), workers=0), CLASSES, top_k=3)
    stored = TableDataset(filepath=str(file)).read(file)
    assert list(stored["label"]) == [path.parent.name for path in files]
    assert list(stored["reason"].dropna()) == list(expected["reason"].dropna())
    pd.testing.assert_frame_equal(
        stored.drop(columns=["label", "reason"]).dropna(),
        expected.drop(columns="reason").dropna(),
        check_dtype=False,
        rtol=1e-12,
    )
    assert b'"=red"' not in file.read_bytes(), "no cell is a formula"


def test_labels_give_the_metrics_of_the_evaluation(checkpoint, folder):
    parts = []
    *metrics, last = bulk.predict_all([checkpoint], [str(folder)], machine(), parts.append, workers=0).lines()
    predicted = pd.concat(parts).dropna(subset=["prediction"])
    truth_N = np.array([CLASSES.index(label) for label in predicted["label"]])
    accuracy = scores(predicted[[f"p_{name}" for name in CLASSES]].to_numpy(), truth_N)["accuracy"]
    assert metrics[0].startswith(f"Measured on 7 labelled images: accuracy {accuracy:.1%}")
    assert last == "8 images found: 7 predicted, 1 refused"


def test_a_table_that_fails_halfway_leaves_the_one_before(tmp_path):
    file = tmp_path / "predictions.csv"
    file.write_text("before")
    parts = (pd.DataFrame({"path": [str(1 // number)]}) for number in (1, 0))
    with pytest.raises(ZeroDivisionError), written_in_parts(file) as write:
        list(map(write, parts))
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]
    assert file.read_text() == "before"


def test_the_contact_sheet_shows_the_least_sure_and_can_do_without_any(checkpoint, folder, tmp_path):
    parts = []
    bulk.predict_all([checkpoint], [str(folder)], machine(), parts.append, workers=0)
    predicted = pd.concat(parts)
    figure = nodes.draw_contact_sheet(predicted)
    shown = [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes if ax.images]
    order = predicted.dropna(subset=["prediction"]).sort_values("probability")["path"]
    assert shown == [path.rpartition("/")[2] for path in order]
    empty = nodes.draw_contact_sheet(predicted[predicted["prediction"].isna()])
    assert not empty.axes
    assert "No photograph" in empty.get_suptitle()
