"""An index is versioned and a store is not: after another run they meet by the pixels of their images."""

import numpy as np
import pytest
from PIL import Image

from transferlab.core.data.decoding.batch import Decoding
from transferlab.core.data.listing.config import ClassFolders
from transferlab.core.data.listing.layout import list_images
from transferlab.core.data.split.config import SplitConfig
from transferlab.core.data.split.index import assign
from transferlab.core.data.store import Resize, StoreError, largest
from transferlab.core.data.store_builder import build
from transferlab.core.loading.splits import split_of
from transferlab.pipelines.data.nodes import measure

LEVEL = {"bee": 0, "cat": 200}


def photographs(root, name, label, count):
    for number in range(count):
        file = root / label / f"{name} {number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 6, 3), LEVEL[label] + number + len(name), np.uint8)).save(file)


def built(root):
    listing, _ = list_images(root, ClassFolders())
    stores, accepted, _ = build(root, listing, [Resize()], root.parent / "stores", Decoding(workers=0))
    return assign(accepted, SplitConfig(test=0.5)), stores


def test_an_old_index_finds_its_images_in_a_new_store(tmp_path):
    root = tmp_path / "photos"
    for label in LEVEL:
        photographs(root, "named late", label, 6)
    index, stores = built(root)
    statistics = measure(index, stores)
    photographs(root, "added before", "bee", 9)
    _, new = built(root)
    assert len(largest(new.values())) == 21
    for name in ("train", "test"):
        split = split_of(index, new["full"], name, 0)
        assert (split.labels == [int(new["full"][row].max() >= 200) for row in split.rows]).all()
        assert len(split) == 6
    assert measure(index, new) == statistics


def test_a_store_of_another_size_does_not_change_what_is_measured_of_the_first(tmp_path):
    root = tmp_path / "photos"
    for label in LEVEL:
        photographs(root, "photo", label, 4)
    listing, _ = list_images(root, ClassFolders())
    found = {}
    for sizes in ((8,), (8, None)):
        stores, accepted, _ = build(root, listing, [Resize(size=size) for size in sizes], root.parent / "stores")
        found[sizes] = measure(assign(accepted, SplitConfig(test=0.5)), stores)["stores"]
    assert found[8, None]["short_side_8_bilinear"] == found[8,]["short_side_8_bilinear"]
    assert set(found[8, None]) == {"short_side_8_bilinear", "full"}


def test_a_store_without_the_images_of_the_index_is_refused(tmp_path):
    root = tmp_path / "photos"
    for label in LEVEL:
        photographs(root, "named late", label, 6)
    index, _ = built(root)
    (root / "bee" / "named late 3.png").unlink()
    _, new = built(root)
    with pytest.raises(StoreError, match=r"lacks 1 of the 12 images of the index.*kedro run --pipeline=data"):
        split_of(index, new["full"], "train", 0)
