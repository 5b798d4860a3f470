import io
import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from transferlab.core.data.download import Downloads, SourceError
from transferlab.core.data.sources import AddressSource, acquire


def png(shade):
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(file, "PNG")
    return file.getvalue()


def write(path, labels, names=None, images=None):
    """A Parquet file as `datasets` writes it: images as structs, numbered labels with names in the metadata."""
    images = images or [{"bytes": png(number), "path": f"photo {number}.png"} for number in range(len(labels))]
    table = pa.table({"image": images, "label": labels})
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path)


def fetched(tmp_path, url, **options):
    return acquire(AddressSource(url=str(url), **options), Downloads(tmp_path / "downloads")).path


def listed(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_images_in_parquet_become_files_of_their_class_and_part(tmp_path):
    write(tmp_path / "set" / "data" / "train-00000-of-00001.parquet", [0, 1], ["ants", "bees"])
    write(tmp_path / "set" / "data" / "test-00000-of-00001.parquet", [1], ["ants", "bees"])
    (tmp_path / "set" / "README.md").write_text("about")
    folder = fetched(tmp_path, tmp_path / "set")
    assert listed(folder) == [
        "test/bees/data-test-00000-of-00001-000001-photo 0.png",
        "train/ants/data-train-00000-of-00001-000001-photo 0.png",
        "train/bees/data-train-00000-of-00001-000002-photo 1.png",
    ]
    assert next((folder / "train" / "bees").iterdir()).read_bytes() == png(1)


def test_one_file_with_bytes_and_text_needs_no_part_and_columns_may_be_called_otherwise(tmp_path):
    file = tmp_path / "photos.parquet"
    parquet.write_table(pa.table({"jpg": [png(1), png(2)], "kind": ["a/b", "c"]}), file)
    folder = fetched(tmp_path, f"file://{file}", image="jpg", label="kind")
    assert listed(folder) == ["a_b/photos-000001.png", "c/photos-000002.png"]


def test_what_has_not_changed_is_fetched_once_and_what_has_again(tmp_path):
    file = tmp_path / "photos.parquet"
    write(file, ["a", "b"])
    first = fetched(tmp_path, file)
    made = {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    assert fetched(tmp_path, file) == first
    assert made == {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    write(file, ["a", "b", "b"])
    second = fetched(tmp_path, file)
    assert second != first
    assert len(listed(second)) == 3
    file.unlink()
    assert fetched(tmp_path, file) == second, "without the network, what was fetched last"


def test_a_folder_or_a_pattern_without_parquet_is_copied_as_it_is(tmp_path):
    for name in ("bees/1.png", "ants/2.png", "ants/deep/3.png"):
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_bytes(png(1))
    assert listed(fetched(tmp_path, tmp_path / "site")) == ["ants/2.png", "ants/deep/3.png", "bees/1.png"]
    assert listed(fetched(tmp_path, f"{tmp_path}/site/*/*.png")) == ["ants/2.png", "bees/1.png"]


@pytest.mark.parametrize(
    ("options", "labels", "images", "told"),
    [
        ({"label": "labels"}, ["a"], None, r"photos\.parquet has no column 'labels'; did you mean 'label'"),
        ({"image": "picture"}, ["a"], None, r"has no column 'picture'; it has \['image', 'label'\]"),
        ({}, ["a", None], None, "photos.parquet, row 2: the label None cannot be the name"),
        ({}, ["../a"], None, "cannot be the name of a class"),
        ({}, ["a" * 300], None, "cannot be the name of a class"),
        ({}, [["a"]], None, r"the label \['a'\] cannot be the name of a class"),
        ({}, [0, -1], None, "row 2: the label -1 is no class's number, .*: leave that file out of dataset.source.url"),
        ({}, ["a"], [{"bytes": None, "path": "1.png"}], "row 1: it holds no image"),
    ],
)
def test_what_cannot_be_exported_is_told_and_leaves_nothing(tmp_path, options, labels, images, told):
    write(tmp_path / "photos.parquet", labels, images=images)
    with pytest.raises(SourceError, match=told):
        fetched(tmp_path, tmp_path / "photos.parquet", **options)
    assert listed(tmp_path / "downloads") == []


def test_a_long_name_of_an_image_is_left_out_and_a_damaged_file_is_named(tmp_path):
    image = {"bytes": png(0), "path": "x" * 300 + ".png"}
    write(tmp_path / "photos.parquet", ["a"], images=[image])
    assert listed(fetched(tmp_path, tmp_path / "photos.parquet")) == ["a/photos-000001.png"]
    (tmp_path / "photos.parquet").write_bytes(b"PAR1 and so on")
    with pytest.raises(SourceError, match=r"url: photos\.parquet cannot be read as Parquet"):
        fetched(tmp_path, tmp_path / "photos.parquet")


def test_an_address_that_cannot_be_read_is_told_with_a_cure(tmp_path, monkeypatch):
    with pytest.raises(SourceError, match=r"there are no files at"):
        fetched(tmp_path, tmp_path / "nowhere")
    (tmp_path / "photos.parquet").write_bytes(b"no parquet")
    with pytest.raises(SourceError, match=r"photos\.parquet cannot be read"):
        fetched(tmp_path, tmp_path / "photos.parquet")
    with pytest.raises(SourceError, match=r"nope://x cannot be read \(.*nope"):
        fetched(tmp_path, "nope://x")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match=r"hf://datasets/o/n cannot be read .*hf download"):
        fetched(tmp_path, "hf://datasets/o/n")
