"""Parts of an experiment on a real disk: their sizes, and what is left when one is removed."""

import os

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import pipeline

from transferlab.console.errors import UserError
from transferlab.datasets.folders import FolderDataset
from transferlab.datasets.runs import RunsDataset
from transferlab.versions.catalogue import Versions
from transferlab.versions.clean import parts, remove_parts

SIZES = {
    "01_raw/downloads/flowers.zip": 7,
    "01_raw/flowers/acquired.json": 1,
    "02_intermediate/flowers/listing.parquet": 10,
    "03_primary/flowers/images/full/pixels.bin": 100,
    "04_feature/flowers/features.bin": 1000,
    "06_models/flowers/flowers/checkpoints/1/trial_0.safetensors": 10_000,
    "06_models/bees/a/checkpoints/1/trial_0.safetensors": 3,
}


@pytest.fixture
def data(tmp_path):
    for name, size in SIZES.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(bytes(size))
    return tmp_path


def versions(data):
    folders = {"image_folder": "03_primary/flowers/images", "feature_cache": "04_feature/flowers"}
    catalog = {name: FolderDataset(filepath=str(data / path)) for name, path in folders.items()}
    runs = RunsDataset(filepath=str(data / "02_intermediate/flowers/runs"))
    return Versions(DataCatalog({**catalog, "runs": runs, "experiment": MemoryDataset("flowers")}), pipeline([]))


def left(data):
    return {str(file.relative_to(data)) for file in data.rglob("*") if file.is_file() and file.name[0] != "."}


def test_sizes_are_those_of_the_files_and_the_shared_downloads_are_not_counted(data):
    sizes = {part.option: part.size for part in parts(versions(data), data)}
    assert sizes == {"stores": 100, "caches": 1000, "all": 11_111}


@pytest.mark.parametrize(
    ("option", "gone"),
    [("stores", "03_primary/flowers/images"), ("caches", "04_feature/flowers"), ("all", "/flowers/")],
)
def test_what_is_chosen_goes_and_nothing_else(data, option, gone):
    found = versions(data)
    with found.alone():
        remove_parts(found, [part for part in parts(found, data) if part.option == option])
    assert left(data) == {name for name in SIZES if gone not in name}
    assert not list(data.rglob(".unfinished-*"))


def test_an_experiment_that_has_run_nothing_has_nothing(tmp_path):
    assert [part.size for part in parts(versions(tmp_path), tmp_path)] == [0, 0, 0]


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_nothing_goes_while_a_run_is_under_way(data):
    run = RunsDataset(filepath=str(data / "02_intermediate/flowers/runs")).begin("2026-01-01T00.00.00.000Z")
    with pytest.raises(UserError, match=r"2026-01-01T00\.00\.00\.000Z is under way, so nothing was removed"):
        remove_parts(found := versions(data), parts(found, data))
    assert set(SIZES) <= left(data)
    run.end(is_whole=False)
    remove_parts(found := versions(data), parts(found, data))
