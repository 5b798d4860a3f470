"""Every dataset gives back what was saved, and Kedro-Viz a preview of it."""

import csv
import dataclasses
import errno
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from dataset_kinds import KINDS, NEW, OLD, OTHER, TABLE, checkpoint, figure, version
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kedro.io import DatasetError
from PIL import Image
from tiny import same

from transferlab.core.data.store import ImageStore, Resize
from transferlab.core.data.store_writer import StoreWriter
from transferlab.core.errors import MendableError
from transferlab.core.models.checkpoint import CheckpointError
from transferlab.datasets.atomic import UrlError
from transferlab.datasets.checkpoints import CheckpointDataset, TrialsDataset
from transferlab.datasets.document import FigureDataset, JSONDataset, PageDataset
from transferlab.datasets.folders import FolderDataset, UnfinishedTrials
from transferlab.datasets.images import ImageStoresDataset
from transferlab.datasets.table import TableDataset
from transferlab.versions.catalogue import size_on_disk


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


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1) | st.sampled_from(
    ["Icon\r", "a\rx", "a\r\n", "inf", "-inf", "nan", "NaN", "True", "None", "1e5", "-0.0", "=1+1", "+1", "@a", "-2",
     "'=", "''", "#N/A", ",", '"', "\ufeff"]
)  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES, min_size=1, max_size=4), NAMES, st.booleans())
def test_any_name_comes_back_from_csv_beside_numbers(tmp_path, names, column, missing_first):
    table = pd.DataFrame({"any": names, column + " of a table": names, "count": range(len(names)), "value": np.nan})
    table["any"] = table["any"].astype("str")
    table.iloc[:, 1] = table.iloc[:, 1].astype("str")
    if missing_first:
        table = pd.concat([pd.DataFrame({"any": [None], "count": [7], "value": [0.5]}), table], ignore_index=True)
        table = table[["any", column + " of a table", "count", "value"]]
    dataset = TableDataset(filepath=str(tmp_path / "table.csv"))
    dataset.save(table)
    found = dataset.load()
    assert list(found.columns) == list(table.columns)
    for name in table:
        assert [None if cell is None or cell != cell else cell for cell in found[name]] == [
            None if cell is None or cell != cell else cell for cell in table[name]
        ]


@pytest.mark.parametrize("formula", ["=cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(A1)", "\t=1"])
def test_no_cell_is_a_formula_in_a_spreadsheet(tmp_path, formula):
    TableDataset(filepath=str(tmp_path / "table.csv")).save(pd.DataFrame({"class": [formula], "count": [-1]}))
    with (tmp_path / "table.csv").open(newline="") as file:
        cells = next(row for number, row in enumerate(csv.reader(file)) if number == 1)
    assert cells == [f"'{formula}", "-1"]


def test_a_table_that_somebody_else_wrote_is_read_as_it_is(tmp_path):
    (tmp_path / "table.csv").write_text("strategy,value,name\nscratch,0.5,\nstaged,1,x\n")
    found = TableDataset(filepath=str(tmp_path / "table.csv")).load()
    assert found["value"].tolist() == [0.5, 1.0]
    assert found["strategy"].tolist() == ["scratch", "staged"]


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


@pytest.mark.parametrize(
    ("content", "document", "told"),
    [
        ("acquired", {}, "path: "),
        ("acquired", [], "dictionary"),
        ("acquired", {"path": 1, "subfolder": ".", "note": ""}, "path: "),
        ("extracted", {"folder": "x"}, "path: "),
        (
            "statistics",
            {"classes": ["a"], "images": {"train": {"a": "many"}}, "mean": [0], "std": [1]},
            "images.train.a: ",
        ),
        ("facts", {"title": "Photos"}, "experiment: "),
    ],
)
def test_a_document_that_somebody_changed_is_named_with_what_is_wrong(tmp_path, content, document, told):
    file = tmp_path / "document.json"
    file.write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=rf"^{file} is damaged \(.*{told}.*run the node that makes it$") as caught:
        JSONDataset(filepath=str(file), content=content).load()
    assert isinstance(caught.value, MendableError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", '{"full": 1}', '"x"'])
def test_a_list_of_stores_that_somebody_changed_is_named(tmp_path, text):
    (tmp_path / "stores.json").write_text(text)
    with pytest.raises(DatasetError, match=r"stores\.json is damaged"):
        ImageStoresDataset(filepath=str(tmp_path / "stores.json")).load()


def test_a_page_and_a_figure_come_back_as_text_and_png(tmp_path):
    page, drawn = PageDataset(filepath=str(tmp_path / "r.html")), FigureDataset(filepath=str(tmp_path / "f.png"))
    page.save("<p>ねこ</p>\r\n")
    drawn.save(figure())
    assert page.load().strip() == "<p>ねこ</p>"
    assert drawn.load().startswith(b"\x89PNG")
    assert Image.open(tmp_path / "f.png").size == tuple(figure().get_size_inches() * figure().dpi), (
        "the pixels it asks for"
    )


def test_checkpoints_come_back_trial_by_trial(tmp_path):
    single, several = (
        version(CheckpointDataset, tmp_path / "initial.safetensors", NEW),
        version(TrialsDataset, tmp_path / "checkpoints", NEW),
    )
    single.save(checkpoint())
    several.save({trial: checkpoint(trial, trial) for trial in (0, 1, 10)})
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
    with pytest.raises(DatasetError, match=r"full-1 as the store of short_side_8_bilinear.*--nodes=data.decode_images"):
        dataset.load()
    for content in ("[]", '{"full": 1}', '"full"'):
        (tmp_path / "stores.json").write_text(content)
        with pytest.raises(DatasetError, match=r"stores\.json is damaged \(.*Input should be"):
            dataset.load()


def test_image_stores_come_back_and_a_damaged_or_lost_one_is_named(tmp_path):
    dataset = ImageStoresDataset(filepath=str(tmp_path / "stores.json"))
    dataset.save(stores(tmp_path))
    pixels = tmp_path / "full-1" / "pixels.bin"
    whole = pixels.read_bytes()
    pixels.write_bytes(whole[:-1] + b"\x08")
    with pytest.raises(DatasetError, match=r"full-1 is damaged.*--nodes=data.decode_images"):
        dataset.load()
    pixels.write_bytes(whole)
    assert dataset.load()["full"][0].shape == (2, 4, 3)
    for file in (tmp_path / "full-1").iterdir():
        file.unlink()
    (tmp_path / "full-1").rmdir()
    with pytest.raises(DatasetError, match=r"full-1.* is gone.*--nodes=data.decode_images"):
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


@pytest.fixture
def trials(tmp_path):
    """Three trials of `scratch`, as the catalog names them."""
    dataset = TrialsDataset(filepath=str(tmp_path / "checkpoints"), strategy="scratch")
    dataset.save({trial: checkpoint(trial, trial) for trial in range(3)})
    return dataset.load()


def test_swapped_trials_are_noticed(trials):
    one, other = trials.folder / "trial_0.safetensors", trials.folder / "trial_1.safetensors"
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"trial_0\.safetensors: it is that of trial 1, not of trial 0; .*train"):
        dict(trials)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"trial": 7}, "it is that of trial 7, not of trial 2"),
        ({"trial": None}, "it is that of trial None"),
        ({"strategy": "tuned"}, "it is that of the strategy 'tuned', not of 'scratch'"),
    ],
)
def test_a_checkpoint_of_another_trial_or_strategy_is_refused(trials, changes, told):
    stranger = dataclasses.replace(checkpoint(), header=dataclasses.replace(trials[2].header, **changes))
    (trials.folder / "trial_2.safetensors").write_bytes(stranger.to_bytes())
    with pytest.raises(CheckpointError, match=rf"trial_2\.safetensors: {told}.*kedro run --nodes=scratch\.train"):
        dict(trials)


@pytest.fixture
def frozen(tmp_path):
    """Three trials whose heads differ, and the rest of whose weights does not."""
    dataset = TrialsDataset(filepath=str(tmp_path / "checkpoints"), strategy="scratch")
    backbone = {"stem": torch.ones(100, 100), "norm.count": torch.tensor(3)}
    tensors = [{**backbone, "head": torch.full((5, 100), float(trial))} for trial in range(3)]
    data = {trial: dataclasses.replace(checkpoint(trial, trial), tensors=tensors[trial]) for trial in range(3)}
    dataset.save(data)
    return dataset.load(), data


def test_what_all_trials_have_in_common_lies_there_once(frozen):
    stored, data = frozen
    assert {trial: stored[trial].header for trial in stored} == {trial: each.header for trial, each in data.items()}
    for trial, saved in data.items():
        assert same(stored[trial].tensors, saved.tensors)
    assert sum(file.stat().st_size for file in stored.folder.iterdir()) < 2 * data[0].tensors["stem"].nbytes
    assert [file.name for file in stored.files(1)] == ["trial_1.safetensors", "shared.safetensors"]


@pytest.mark.parametrize("damage", ["gone", "no tensors", "a flipped bit", "of others"])
def test_a_lost_or_damaged_common_part_is_named(frozen, damage):
    stored, _ = frozen
    shared = stored.folder / "shared.safetensors"
    content = shared.read_bytes()
    if damage == "gone":
        shared.unlink()
    elif damage == "of others":
        shared.write_bytes((stored.folder / "trial_0.safetensors").read_bytes())
    else:
        shared.write_bytes(b"" if damage == "no tensors" else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"shared\.safetensors.*kedro run --nodes=scratch\.train"):
        dict(stored)


@pytest.mark.parametrize(
    ("kind", "name", "inside", "data"),
    [
        (CheckpointDataset, "initial.safetensors", "", checkpoint),
        (TrialsDataset, "checkpoints", "trial_0.safetensors", lambda value: {0: checkpoint(value)}),
    ],
)
def test_what_runs_and_strategies_have_in_common_is_on_disk_once(tmp_path, monkeypatch, kind, name, inside, data):
    def saved(strategy: str, at: str, value: float = 1.0) -> Path:
        dataset = version(kind, tmp_path / strategy / name, at)
        dataset.save(data(value))
        return dataset.path_of(at) / inside

    first, again, of_another, changed = saved("a", OLD), saved("a", NEW), saved("b", OLD), saved("b", NEW, 2.0)
    assert first.samefile(again)
    assert first.samefile(of_another)
    assert size_on_disk(first.parent) == pytest.approx(first.stat().st_size / 3, abs=10)
    assert changed.stat().st_nlink == 1
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links here")))
    content, alone = first.read_bytes(), saved("a", OTHER)
    assert alone.stat().st_nlink == 1
    first.unlink()
    assert again.read_bytes() == of_another.read_bytes() == alone.read_bytes() == content
    assert not list(tmp_path.rglob(".*")), "nothing unfinished stays"


def test_trials_that_share_little_are_whole_files(trials):
    assert not (trials.folder / "shared.safetensors").exists()


@pytest.mark.parametrize("content", ["", "{}", "[1.5]", '["0"]', "[", "[0, 0]", "[" * 100_000])
def test_a_list_of_trials_that_cannot_be_read_is_named(trials, content):
    (trials.folder / "trials.json").write_text(content)
    with pytest.raises(DatasetError, match=r"trials\.json .*--nodes=scratch\.train"):
        len(trials)


def test_the_catalog_says_whose_checkpoints_they_are():
    catalog = yaml.safe_load((Path(__file__).parents[2] / "conf" / "base" / "catalog.yml").read_text())
    for name in ("{strategy}.checkpoints", "{strategy}.initial_model"):
        assert catalog[name]["strategy"] == "{strategy}"


@pytest.mark.parametrize("kind", [TableDataset, TrialsDataset, FolderDataset])
def test_a_url_is_refused_with_the_cure(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UrlError, match=r"s3://bucket/a: .* local disk.*kedro transferlab publish URL"):
        kind(filepath="s3://bucket/a")
    assert list(tmp_path.iterdir()) == []
