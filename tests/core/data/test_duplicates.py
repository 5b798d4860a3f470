from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from transferlab.core.data.decoding.batch import Decoding
from transferlab.core.data.duplicates import (
    COLUMNS,
    _nearest,
    across_splits,
    contradictory,
    difference_hash,
    duplicates,
    repeating_classes,
)
from transferlab.core.data.listing.table import Listed, as_listing
from transferlab.core.data.store import Resize
from transferlab.core.data.store_builder import build

RNG = np.random.default_rng(0)


def photo():
    """Something with the large smooth shapes of a photograph."""
    return Image.fromarray(RNG.integers(0, 256, (9, 12, 3), np.uint8)).resize((320, 240), Image.Resampling.BICUBIC)


def index_of(folder, splits):
    listing = as_listing([Listed(path, "x", split) for path, split in splits.items()])
    stores, accepted, _ = build(folder, listing, [Resize(size=128)], folder / "out", Decoding(workers=0))
    return accepted, stores["short_side_128_bilinear"]


def test_copies_are_found_whatever_their_metadata_or_compression(tmp_path):
    images = [photo() for _ in range(6)]
    images[0].save(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x010E] = "a copy"
    images[0].save(tmp_path / "b.png", exif=exif)
    images[0].save(tmp_path / "c.png", compress_level=1)
    images[1].save(tmp_path / "d.png")
    images[1].save(tmp_path / "e.jpg", quality=50)
    for name, image in zip("fghi", images[2:], strict=True):
        image.save(tmp_path / f"{name}.png")
    index, store = index_of(tmp_path, {
        "a.png": "test", "b.png": "train", "c.png": "validation", "d.png": "train", "e.jpg": "test",
        "f.png": "train", "g.png": "test", "h.png": "validation", "i.png": "train",
    })  # fmt: skip
    pairs = duplicates(index, store)
    assert list(pairs.columns) == COLUMNS
    assert pairs.drop(columns=["distance", "class_a", "class_b"]).values.tolist() == [
        ["b.png", "train", "a.png", "test", "exact"],
        ["c.png", "validation", "a.png", "test", "exact"],
        ["d.png", "train", "e.jpg", "test", "near"],
    ]
    assert pairs["distance"].max() <= 12


def test_every_image_that_a_more_held_out_one_repeats_is_named(tmp_path):
    image = photo()
    qualities = {"a": 95, "b": 50, "c": 70, "d": 85}
    for name, quality in qualities.items():
        image.save(tmp_path / f"{name}.jpg", quality=quality)
    for name in "efg":
        image.save(tmp_path / f"{name}.png")
    splits = {"a.jpg": "test", "b.jpg": "train", "c.jpg": "train", "d.jpg": "validation",
              "e.png": "train", "f.png": "train", "g.png": "validation"}  # fmt: skip
    index, store = index_of(tmp_path, splits)
    across = across_splits(duplicates(index, store))
    assert set(across["path_a"]) == set(splits) - {"a.jpg"}
    assert set(across["path_b"]) <= {"a.jpg", "d.jpg", "g.png"}
    held_out = ["train", "validation", "test"].index
    assert (across["split_a"].map(held_out) < across["split_b"].map(held_out)).all()
    assert not across.duplicated(["path_a", "path_b"]).any()


def test_images_whose_hash_tells_nothing_are_near_none(tmp_path):
    ramp_HW = np.linspace(255, 0, 64, dtype=np.uint8)[None].repeat(64, 0)
    shades = {"white": np.full((64, 64), 255, np.uint8), "black": np.zeros((64, 64), np.uint8), "darker": ramp_HW,
              "brighter": ramp_HW[:, ::-1], "downward": ramp_HW.T}  # fmt: skip
    for split in ("train", "test"):
        for name, grey_HW in shades.items():
            Image.fromarray(grey_HW // 2 if split == "train" else grey_HW).save(tmp_path / f"{split}_{name}.png")
    index, store = index_of(tmp_path, {path.name: path.name.split("_")[0] for path in tmp_path.glob("*.png")})
    found = duplicates(index, store)
    assert found[["path_a", "path_b", "kind"]].to_numpy().tolist() == [["train_black.png", "test_black.png", "exact"]]


@pytest.mark.parametrize("split", ["train", "test"])
def test_without_two_parts_there_are_only_exact_ones(tmp_path, split):
    photo().save(tmp_path / "a.png")
    photo().save(tmp_path / "b.png")
    index, store = index_of(tmp_path, {"a.png": split, "b.png": split})
    assert duplicates(index, store).empty
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    index, store = index_of(tmp_path, {"a.png": split, "b.png": split})
    assert duplicates(index, store)[["path_a", "path_b", "kind"]].values.tolist() == [["b.png", "a.png", "exact"]]


def test_the_hash_is_256_bits_near_for_copies_and_far_for_others():
    image = photo()
    file = BytesIO()
    image.resize((160, 120)).save(file, "JPEG", quality=50)
    hashes = [difference_hash(np.array(each.convert("RGB"))) for each in (image, Image.open(file), photo())]
    assert hashes[0].shape == (4,)
    assert hashes[0].dtype == np.uint64
    distances = [int(np.bitwise_count(hashes[0] ^ other).sum()) for other in hashes[1:]]
    assert distances[0] <= 12 < 60 < distances[1]


def test_each_of_many_finds_its_own():
    of = RNG.integers(0, 2**63, (600, 4)).astype(np.uint64)
    order = RNG.permutation(600)
    nearest, distances = _nearest(of, of[order] ^ np.uint64(1))
    assert np.array_equal(order[nearest], np.arange(600))
    assert set(distances) == {4}


def test_photographs_with_two_labels_come_first_and_a_class_that_repeats_others_is_named(tmp_path):
    photos = [photo() for _ in range(3)]
    for name, of in {"daisy1": 0, "rose1": 1, "flowers1": 0, "flowers2": 1, "rose2": 2, "rose3": 2}.items():
        photos[of].save(tmp_path / f"{name}.png")
    index, store = index_of(tmp_path, {path.name: "train" for path in tmp_path.glob("*.png")})
    index["class"] = index["path"].str.removesuffix(".png").str[:-1]
    pairs = duplicates(index, store)
    assert pairs[["path_a", "class_a", "path_b", "class_b"]].to_numpy().tolist() == [
        ["flowers1.png", "flowers", "daisy1.png", "daisy"],
        ["rose1.png", "rose", "flowers2.png", "flowers"],
        ["rose3.png", "rose", "rose2.png", "rose"],
    ]
    assert len(contradictory(pairs)) == 2
    assert repeating_classes(index) == {"daisy": ["flowers"], "flowers": ["daisy", "rose"]}
