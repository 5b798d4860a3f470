"""Every dataset gives back what was saved, and Kedro-Viz a preview of it."""

import errno
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from dataset_kinds import KINDS, NEW, TABLE, checkpoint, figure, version
from kedro.io import DatasetError
from PIL import Image

from transferlab.core.data.store import ImageStore, Resize, StoreWriter
from transferlab.datasets.checkpoints import CheckpointDataset, TrialsDataset
from transferlab.datasets.document import FigureDataset, JSONDataset, PageDataset
from transferlab.datasets.folders import FolderDataset, UnfinishedTrials
from transferlab.datasets.images import ImageStoresDataset
from transferlab.datasets.table import TableDataset


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_comes_back_as_it_was(tmp_path, suffix):
    dataset = TableDataset(filepath=str(tmp_path / f"table.{suffix}"))
    dataset.save(TABLE)
    pd.testing.assert_frame_equal(dataset.load(), TABLE, check_exact=True)


@pytest.mark.parametrize("classes", [["0", "1"], ["007", "08"], ["True", "False"], ["1.0", "1e3"]])
def test_classes_that_look_like_numbers_stay_text(tmp_path, classes):
    table = pd.DataFrame({"truth": classes, "prediction": classes, "class": classes, "count": [1, 2]})
    dataset = TableDataset(filepath=str(tmp_path / "table.csv"))
    dataset.save(table)
    pd.testing.assert_frame_equal(dataset.load(), table)


def test_an_empty_table_keeps_its_columns(tmp_path):
    dataset = TableDataset(filepath=str(tmp_path / "steps.parquet"))
    dataset.save(TABLE.iloc[:0])
    assert list(dataset.load().columns) == list(TABLE.columns)


def test_a_document_comes_back_and_nan_is_refused(tmp_path):
    dataset = JSONDataset(filepath=str(tmp_path / "facts.json"))
    dataset.save({"classes": ["ねこ", "NA"], "mean": [0.5, 1 / 3], "licence": None})
    assert dataset.load() == {"classes": ["ねこ", "NA"], "mean": [0.5, 1 / 3], "licence": None}
    with pytest.raises(DatasetError, match="JSON compliant"):
        dataset.save({"mean": float("nan")})
    assert dataset.load()["licence"] is None, "the refused document has not touched the old one"


def test_a_page_and_a_figure_come_back_as_text_and_png(tmp_path):
    page, drawn = PageDataset(filepath=str(tmp_path / "r.html")), FigureDataset(filepath=str(tmp_path / "f.png"))
    page.save("<p>ねこ</p>\r\n")
    drawn.save(figure())
    assert page.load().strip() == "<p>ねこ</p>"
    assert drawn.load().startswith(b"\x89PNG")
    assert Image.open(tmp_path / "f.png").size == (150, 150)


def test_checkpoints_come_back_trial_by_trial(tmp_path):
    single, several = (
        version(CheckpointDataset, tmp_path / "initial.safetensors", NEW),
        version(TrialsDataset, tmp_path / "checkpoints", NEW),
    )
    single.save(checkpoint())
    several.save({trial: checkpoint(trial) for trial in (0, 1, 10)})
    assert single.load().header == checkpoint().header
    stored = several.load()
    assert list(stored) == [0, 1, 10], "in the order of numbers"
    assert stored.version == NEW
    assert torch.equal(stored[10].tensors["weight"], torch.full((2, 3), 10.0))


def test_a_folder_of_checkpoints_without_versions_is_not_replaced_silently(tmp_path):
    dataset = TrialsDataset(filepath=str(tmp_path / "checkpoints"))
    dataset.save({0: checkpoint()})
    with pytest.raises(DatasetError, match="there already"):
        dataset.save({0: checkpoint(2.0)})
    assert dataset.load()[0].tensors["weight"][0, 0] == 1


def test_a_folder_is_made_when_loaded_and_never_saved(tmp_path):
    dataset = FolderDataset(filepath=str(tmp_path / "a" / "b"))
    assert dataset.load().is_dir()
    with pytest.raises(DatasetError, match="cannot be saved"):
        dataset.save(tmp_path)  # type: ignore[arg-type]


def test_unfinished_trials_are_held_by_one_run_until_they_are_confirmed(tmp_path):
    first, second = (UnfinishedTrials(filepath=str(tmp_path / "unfinished")) for _ in range(2))
    pickle.dumps(first)  # as ParallelRunner does
    (first.load() / "trial_0.pt").write_bytes(b"state")
    with pytest.raises(DatasetError, match="another run is training"):
        second.load()
    first.confirm()
    assert not list(second.load().glob("*.pt"))
    second.confirm()


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_training_goes_on_where_there_are_no_locks_and_says_so(tmp_path, monkeypatch, caplog):
    import fcntl

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    states = UnfinishedTrials(filepath=str(tmp_path / "unfinished"))
    assert states.load() == tmp_path / "unfinished"
    assert "has no locks" in caplog.text
    states.confirm()


def stores(folder: Path) -> dict[str, ImageStore]:
    (folder / "full-1").mkdir(parents=True)
    with StoreWriter(folder / "full-1", Resize()) as writer:
        writer.append(np.full((2, 4, 3), 9, np.uint8))
        writer.finish("PIL", [{"reason": None, "pixel_sha256": "0"}])
    return {"full": ImageStore(folder / "full-1")}


def test_a_store_under_the_key_of_another_and_a_list_of_another_shape_are_told(tmp_path):
    dataset = ImageStoresDataset(filepath=str(tmp_path / "stores.json"))
    dataset.save({"short_side_8_bilinear": stores(tmp_path)["full"]})
    with pytest.raises(DatasetError, match=r"full-1 as the store of short_side_8_bilinear.*--nodes=decode_images"):
        dataset.load()
    for content in ("[]", '{"full": 1}', '"full"'):
        (tmp_path / "stores.json").write_text(content)
        with pytest.raises(DatasetError, match=r"stores.json is damaged \(it is no list of image stores\)"):
            dataset.load()


def test_image_stores_come_back_and_a_damaged_or_lost_one_is_named(tmp_path):
    dataset = ImageStoresDataset(filepath=str(tmp_path / "stores.json"))
    dataset.save(stores(tmp_path))
    pixels = tmp_path / "full-1" / "pixels.bin"
    whole = pixels.read_bytes()
    pixels.write_bytes(whole[:-1] + b"\x08")
    with pytest.raises(DatasetError, match=r"full-1 is damaged.*--nodes=decode_images"):
        dataset.load()
    pixels.write_bytes(whole)
    assert dataset.load()["full"][0].shape == (2, 4, 3)
    for file in (tmp_path / "full-1").iterdir():
        file.unlink()
    (tmp_path / "full-1").rmdir()
    with pytest.raises(DatasetError, match=r"full-1.* is gone.*--nodes=decode_images"):
        dataset.load()


def test_previews_are_what_kedro_viz_shows(tmp_path):
    table = TableDataset(filepath=str(tmp_path / "t.csv"))
    table.save(TABLE)
    assert json.loads(json.dumps(table.preview(nrows=2)))["data"][0][0] == "NA"
    assert set(table.preview()) == {"columns", "index", "data"}
    drawn = FigureDataset(filepath=str(tmp_path / "f.png"))
    drawn.save(figure())
    assert drawn.preview().startswith("iVBOR")
    document = JSONDataset(filepath=str(tmp_path / "d.json"))
    document.save({"a": 1})
    assert json.loads(document.preview()) == {"a": 1}
    single = CheckpointDataset(filepath=str(tmp_path / "c.safetensors"))
    single.save(checkpoint())
    assert json.loads(single.preview())["strategy"] == "scratch"
    images = ImageStoresDataset(filepath=str(tmp_path / "images" / "stores.json"))
    images.save(stores(tmp_path / "images"))
    assert json.loads(images.preview()) == {"full": {"images": 1, "megabytes": 0.0}}
    for dataset in (table, drawn, document, single, images):
        assert type(dataset).preview.__annotations__["return"], "Kedro-Viz reads the kind of preview from it"


def test_metadata_of_the_catalog_is_kept(tmp_path):
    metadata = {"kedro-viz": {"layer": "raw"}}
    for dataset, name, _ in KINDS.values():
        assert dataset(filepath=str(tmp_path / name), metadata=metadata).metadata == metadata
