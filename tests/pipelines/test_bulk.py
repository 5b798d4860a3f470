"""Many images in parts: found = predicted + refused, the same table as at once, metrics where labels are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tiny import STATISTICS, machine, photographs

from transferlab.core.calibration.reference import Calibrated, Reference, Training
from transferlab.core.data.decoding.batch import pixel_sha256
from transferlab.core.inference.predict import Prediction, predict_files, table
from transferlab.core.metrics import scores
from transferlab.core.models import factory
from transferlab.core.models.backbones.model import Model
from transferlab.core.transforms.input import Input
from transferlab.datasets.parts import PartsError, opened
from transferlab.datasets.table import TableDataset, written_in_parts
from transferlab.pipelines.predict import bulk, pictures
from transferlab.pipelines.predict.bulk import Request, predict_all

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


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(bulk, "ROWS", 3)


def request(checkpoint, folder, calibrated=None):
    return Request([checkpoint], [str(folder)], machine(), calibrated, workers=0)


def predicted(request, parts, told=None):
    """The table and the tally."""
    tables = []
    tally = predict_all(request, parts, tables.append, [].append if told is None else told.append)
    return pd.concat(tables, ignore_index=True), tally


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_table_written_in_parts_is_the_table(checkpoint, folder, tmp_path, suffix):
    file = tmp_path / f"predictions{suffix}"
    with written_in_parts(file) as write:
        tally = predict_all(request(checkpoint, folder), tmp_path / "parts", write, print)
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


def test_labels_give_the_metrics_of_the_evaluation(checkpoint, folder, tmp_path):
    rows, tally = predicted(request(checkpoint, folder), tmp_path)
    *metrics, last = tally.lines()
    known = rows.dropna(subset=["prediction"])
    truth_N = np.array([CLASSES.index(label) for label in known["label"]])
    accuracy = scores(known[[f"p_{name}" for name in CLASSES]].to_numpy(), truth_N)["accuracy"]
    assert metrics[0].startswith(f"Measured on 7 labelled images: accuracy {accuracy:.1%}")
    assert last == "8 images found: 7 predicted, 1 refused"


def test_training_images_among_those_measured_are_counted_by_their_pixels(checkpoint, folder, tmp_path):
    files = [path for path in sorted(folder.rglob("*.png")) if path.stem != "torn"]
    trained_on = frozenset(pixel_sha256(np.asarray(Image.open(path))) for path in files[:3])
    rows, tally = predicted(replace(request(checkpoint, folder), trained_on=trained_on), tmp_path)
    assert list(rows.loc[rows["trained_on"] == "yes", "path"]) == [str(path) for path in files[:3]]
    assert list(rows.loc[rows["trained_on"].isna(), "path"]) == [str(folder / "blue" / "torn.png")]
    assert next(tally.lines()).startswith("Measured on 7 labelled images (3 of which it was trained on): accuracy ")


def test_a_killed_run_goes_on_and_other_images_begin_anew(checkpoint, folder, tmp_path, monkeypatch):
    wanted, whole = request(checkpoint, folder), predicted(request(checkpoint, folder), tmp_path / "whole")[0]
    seen, predict_items = [], bulk.predict_items

    def killed_after(count):
        def predict(checkpoints, items, *rest):
            for number, one in enumerate(predict_items(checkpoints, items, *rest)):
                if number == count:
                    raise KeyboardInterrupt
                seen.append(one.path)
                yield one

        monkeypatch.setattr(bulk, "predict_items", predict)

    killed_after(7)
    with pytest.raises(KeyboardInterrupt):
        predicted(wanted, tmp_path / "parts")
    seen.clear()
    killed_after(99)
    told = []
    rows, tally = predicted(wanted, tmp_path / "parts", told)
    assert told == ["Going on after 6 of 8 images, which an earlier run predicted"]
    assert len(seen) == 2
    assert tally.found == 8
    pd.testing.assert_frame_equal(rows, whole, rtol=1e-6)
    Image.new("RGB", (40, 48)).save(folder / "blue" / "7.png")
    told.clear()
    assert len(predicted(wanted, tmp_path / "parts", told)[0]) == 9
    assert told == []
    (folder / "blue" / "7.png").unlink()


def test_two_processes_do_not_write_the_same_parts(checkpoint, folder, tmp_path):
    with opened(tmp_path, "key"), pytest.raises(PartsError, match="another process is making this table"):
        predicted(request(checkpoint, folder), tmp_path)


def test_sets_and_flags_are_columns_where_they_can_be_had(checkpoint, folder, tmp_path):
    files = [path for path in sorted(folder.rglob("*.png")) if path.stem != "torn"]
    known = list(predict_files([checkpoint], files, machine(), workers=0))
    p_NK, features_NF = np.stack([one.probabilities for one in known]), np.stack([one.features[0][0] for one in known])
    training = Training((features_NF,), p_NK.argmax(axis=1), tuple(map(str, files)))
    reference = Reference.of("these", p_NK, p_NK.argmin(axis=1), [features_NF], training)
    rows, tally = predicted(request(checkpoint, folder, Calibrated.of([reference], 0.5)), tmp_path)
    assert list(rows["prediction_set"].isna()) == list(rows["prediction"].isna())
    usable = rows.dropna(subset=["prediction"])
    for row in usable.to_dict("records"):
        names = row["prediction_set"].split(" | ") if row["prediction_set"] else []
        assert len(names) == row["set_size"]
        assert set(names) <= set(CLASSES)
    assert usable["set_size"].max() == 2, "the calibration's truth is the less probable class"
    assert ((usable["relative_distance"] > 1) == (usable["unfamiliar"] == "yes")).all()
    assert tally.unfamiliar == 0, "of seven validation images, none is farther than the farthest"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_part_of_refused_files_alone_has_the_columns_of_the_others(tmp_path, suffix):
    p_NK, features_NF = np.array([[0.3, 0.7]]), np.array([[1.0, 2.0]], dtype=np.float32)
    training = Training((features_NF,), np.array([1]), ("a",))
    reference = Reference.of("these", p_NK, np.array([1]), [features_NF], training)
    calibrated = Calibrated.of([reference], 0.5)
    refused = Prediction(Path("torn.png"), reason="It is empty.")
    known = Prediction(Path("1.png"), p_NK[0], features=((features_NF[0],),))
    with written_in_parts(tmp_path / f"table{suffix}") as write:
        for part in (refused, known):
            write(table([part], CLASSES, top_k=2, calibrated=calibrated))
    rows = TableDataset(filepath=str(tmp_path / f"table{suffix}")).load()
    if suffix == ".csv":
        told = pd.read_csv(tmp_path / "table.csv", dtype=str)
        assert told["set_size"].iloc[1] in {"0", "1", "2"}, "a whole number, without a point"
    else:
        assert str(pq.read_schema(tmp_path / "table.parquet").field("set_size").type) == "int64"
    assert list(rows["set_size"].isna()) == list(rows["prediction_set"].isna()) == [True, False]


def test_a_table_that_fails_halfway_leaves_the_one_before(tmp_path):
    file = tmp_path / "predictions.csv"
    file.write_text("before")
    parts = (pd.DataFrame({"path": [str(1 // number)]}) for number in (1, 0))
    with pytest.raises(ZeroDivisionError), written_in_parts(file) as write:
        list(map(write, parts))
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]
    assert file.read_text() == "before"


def test_the_contact_sheet_shows_the_least_sure_and_can_do_without_any(checkpoint, folder, tmp_path):
    rows, tally = predicted(request(checkpoint, folder), tmp_path)
    figure = pictures.contact_sheet(tally.least_sure, 7)
    shown = [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes if ax.images]
    order = rows.dropna(subset=["prediction"]).sort_values("probability")["path"]
    assert shown == [path.rpartition("/")[2] for path in order]
    empty = pictures.contact_sheet(tally.least_sure[:0], 0)
    assert not empty.axes
    assert "No photograph" in empty.get_suptitle()


def test_the_page_shows_the_least_sure_first_and_what_was_refused(checkpoint, folder, tmp_path):
    rows, tally = predicted(request(checkpoint, folder), tmp_path)
    page = pictures.page(tally, "<b>Shapes</b>", ["Model: this"], tmp_path / "predictions.csv")
    order = rows.dropna(subset=["prediction"]).sort_values(["probability", "path"])["path"]
    places = [page.index(f'<small title="{path}">') for path in order]
    assert places == sorted(places)
    assert page.count("data:image/jpeg;base64,") == 7
    assert "&lt;b&gt;Shapes&lt;/b&gt;" in page
    assert "<script" not in page
    assert "torn.png" in page
