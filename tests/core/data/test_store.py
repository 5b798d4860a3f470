import pickle
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from transferlab.core.data.store import ImageStore, Resize, StoreError
from transferlab.core.data.store_writer import StoreWriter
from transferlab.core.validation import FieldProblems

RNG = np.random.default_rng(0)
SHAPES = [(4, 7), (1, 1), (9, 3)]
IMAGES = [RNG.integers(0, 256, (*shape, 3), np.uint8) for shape in SHAPES]


def written(folder):
    with StoreWriter(folder, Resize(size=9)) as writer:
        for image_HWC in IMAGES:
            writer.append(image_HWC)
        files = [{"path": f"{i}", "reason": None, "pixel_sha256": f"{i}"} for i in range(3)]
        writer.finish("decoder", [*files, {"path": "bad", "reason": "why", "pixel_sha256": None}])
    return ImageStore(folder)


@pytest.fixture
def store(tmp_path):
    return written(tmp_path)


def test_images_of_any_shape_come_back(store):
    assert len(store) == 3
    assert store.shapes_N2.tolist() == [list(shape) for shape in SHAPES]
    for image_HWC, expected in zip(store.batch([2, 0, np.int64(-2)]), [IMAGES[2], IMAGES[0], IMAGES[1]], strict=True):
        assert np.array_equal(image_HWC, expected)
    with pytest.raises(IndexError):
        store[3]
    with pytest.raises(ValueError, match="read-only"):
        store[0][0, 0, 0] = 1
    assert store.resize == Resize(size=9)
    assert store.header["pixel_sha256"] == ["0", "1", "2"]


def test_rows_are_found_by_pixels_whatever_the_order(store):
    assert store.rows_of(["0", "1", "2"]).tolist() == [0, 1, 2]
    assert store.rows_of(["2", "0", "2"]).tolist() == [2, 0, 2]
    assert store.rows_of([]).tolist() == []
    with pytest.raises(StoreError, match=r"lacks 2 of the 3 images of the index.*kedro run --pipeline=data"):
        store.rows_of(["0", "7", "8"])


def test_it_travels_as_a_path(store):
    store[0]
    data = pickle.dumps(store)
    assert len(data) < 500
    assert np.array_equal(pickle.loads(data)[2], IMAGES[2])  # noqa: S301


def test_a_damaged_store_says_so(store):
    with (store.folder / "pixels.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(StoreError, match="expected 168: delete"):
        store[0]


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """A folder for many stores, each with a path of its own: a path is verified once."""
    return tmp_path_factory.mktemp("copies")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["pixels.bin", "shapes_N2.npy", "header.json"]), st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_byte_is_noticed_before_an_image_is_read(copies, name, at, change):
    store = written(Path(mkdtemp(dir=copies)))
    whole = (store.folder / name).read_bytes()
    at %= len(whole)
    (store.folder / name).write_bytes(whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :])
    try:
        store.verify()
    except StoreError as error:
        told = str(error)
    else:
        told = str(store.folder) if name == "header.json" and is_whole(store) else "other values"
    assert str(store.folder) in told


def is_whole(store):
    """As it was written, but for white space in its header and the name of the digest."""
    expected = written(Path(mkdtemp(dir=store.folder.parent)))
    same_header = all(store.header[key] == value for key, value in expected.header.items() if key != "sha256")
    pairs = zip(store.batch(range(3)), IMAGES, strict=True)
    return same_header and all(np.array_equal(one, other) for one, other in pairs)


def test_a_whole_store_is_read_for_its_digest_once(store, monkeypatch):
    store.verify()
    monkeypatch.setattr(ImageStore, "_sha256", lambda _: pytest.fail("read again"))
    ImageStore(store.folder).verify()


@pytest.mark.parametrize("name", ["pixels.bin", "shapes_N2.npy", "header.json"])
def test_a_lost_file_is_named(store, name):
    (store.folder / name).unlink()
    with pytest.raises(StoreError, match=rf"{name} is gone"):
        ImageStore(store.folder).verify()


@pytest.mark.parametrize("size", [(500, 333), (333, 500), (257, 257), (30, 500), (256, 300)])
@pytest.mark.parametrize("mode", ["short_side", "squash"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_numbers_are_torchvisions(size, mode, interpolation):
    image = Image.fromarray(RNG.integers(0, 256, (*size[::-1], 3), np.uint8))
    target = 30 if min(size) < 64 else 64
    wanted = [target] if mode == "short_side" else [target, target]
    expected = tv.resize(image, wanted, InterpolationMode(interpolation), antialias=True)
    resized = Resize(size=target, mode=mode, interpolation=interpolation)(image)
    assert np.array_equal(np.asarray(resized), np.asarray(expected))


@settings(deadline=None)
@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(1, 600), st.sampled_from(["short_side", "squash"]))
def test_no_side_ever_grows(width, height, size, mode):
    target = Resize(size=size, mode=mode).target(width, height)
    assert 1 <= target[0] <= width
    assert 1 <= target[1] <= height
    if mode == "short_side":
        assert min(target) == min(width, height, size)
    assert Resize().target(width, height) == (width, height)


def test_keys_are_file_names():
    keys = [Resize().key, Resize(size=8).key, Resize(size=8, mode="squash", interpolation="bicubic").key]
    assert keys == ["full", "short_side_8_bilinear", "squash_8_bicubic"]
    with pytest.raises(FieldProblems, match="size"):
        Resize(size=0)
