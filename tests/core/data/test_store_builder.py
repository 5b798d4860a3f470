import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from transferlab.core.data import earlier_build, store_builder
from transferlab.core.data.decoding import batch
from transferlab.core.data.decoding.batch import Decoding
from transferlab.core.data.decoding.decode import Rules, decode
from transferlab.core.data.decoding.levels import Levels
from transferlab.core.data.listing.config import ClassFolders
from transferlab.core.data.listing.layout import list_images
from transferlab.core.data.listing.table import Listed, as_listing
from transferlab.core.data.store import Resize
from transferlab.core.data.store_builder import BuildError, build

HERE = Decoding(workers=0)
RNG = np.random.default_rng(0)
SIZES = [Resize(), Resize(size=8), Resize(size=5, mode="squash", interpolation="bicubic")]


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    for name in "cab":
        Image.fromarray(RNG.integers(0, 256, (10, 20, 3), np.uint8)).save(root / f"{name}.png")
    return root


def listing_of(root, order=None):
    listing = as_listing([Listed(path.name, "x") for path in root.iterdir()])
    return listing if order is None else listing.set_index("path").loc[list(order)].reset_index()


def decoded_names(monkeypatch):
    """The names of the files that are really decoded from now on."""
    names = []

    def spy(file, **arguments):
        names.append(file.name)
        return decode_one(file, **arguments)

    decode_one = batch.decode_one
    monkeypatch.setattr(batch, "decode_one", spy)
    return names


@pytest.mark.parametrize("damage", ["flip", "lost"])
def test_a_damaged_store_is_made_again_with_a_warning(root, tmp_path, caplog, damage):
    listing, out = listing_of(root), tmp_path / "out"
    stores, accepted, _ = build(root, listing, SIZES, out, decoding=HERE)
    before = {key: [np.array(image) for image in store.batch(range(3))] for key, store in stores.items()}
    pixels = stores["full"].folder / "pixels.bin"
    if damage == "lost":
        pixels.unlink()
    else:
        pixels.write_bytes(b"\x00" * pixels.stat().st_size)
    again, accepted_again, _ = build(root, listing, SIZES, out, decoding=HERE)
    (message,) = caplog.messages
    assert str(stores["full"].folder) in message
    assert "decoded again" in message
    pd.testing.assert_frame_equal(accepted_again, accepted)
    for key, images in before.items():
        assert again[key].folder == stores[key].folder, "the content has the name it had"
        again[key].verify()
        assert all(np.array_equal(one, other) for one, other in zip(again[key].batch(range(3)), images, strict=True))


def test_rows_of_stores_are_rows_of_the_table(root, tmp_path):
    (root / "bad.jpg").write_text("no image")
    seen = []
    listing = listing_of(root, ["c.png", "bad.jpg", "a.png", "b.png"])
    listing.index = [7, 5, 3, 1]
    stores, accepted, quarantine = build(
        root,
        listing,
        SIZES,
        tmp_path / "out",
        decoding=Decoding(workers=1),
        report=lambda *progress: seen.append(progress),
    )
    assert list(stores) == ["full", "short_side_8_bilinear", "squash_5_bicubic"]
    assert list(accepted.columns) == ["path", "class", "split", "stratify", "group", "width", "height", "pixel_sha256"]
    assert list(accepted["path"]) == ["c.png", "a.png", "b.png"]
    assert accepted.dtypes[["width", "height"]].tolist() == [np.int64, np.int64]
    assert set(accepted["width"]) == {20}
    for i, path in enumerate(accepted["path"]):
        image = Image.fromarray(decode(root / path))
        for resize in SIZES:
            assert np.array_equal(stores[resize.key][i], np.asarray(resize(image)))
    assert stores["full"].header["pixel_sha256"] == list(accepted["pixel_sha256"])
    assert quarantine.to_numpy().tolist() == [["bad.jpg", "quarantined", "Its content is no image of a known format."]]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_only_changed_files_are_decoded_again(root, tmp_path, monkeypatch):
    (root / "bad.jpg").write_text("no image")
    first, _, _ = build(root, listing_of(root), SIZES, tmp_path / "out", decoding=HERE)
    names = decoded_names(monkeypatch)
    again, accepted, quarantine = build(root, listing_of(root), SIZES, tmp_path / "out", decoding=HERE)
    assert names == []
    assert {key: store.folder for key, store in again.items()} == {key: store.folder for key, store in first.items()}
    assert len(accepted) == 3
    assert len(quarantine) == 1

    times = (root / "a.png").stat()
    Image.new("RGB", (10, 10), "red").save(root / "a.png")
    os.utime(root / "a.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    (root / "b.png").unlink()
    shutil.copy(root / "c.png", root / "d.png")
    third, accepted, quarantine = build(root, listing_of(root), SIZES, tmp_path / "out", decoding=HERE)
    assert names == ["a.png", "d.png"]
    assert list(accepted["path"]) == ["a.png", "c.png", "d.png"]
    assert list(quarantine["path"]) == ["bad.jpg"]
    assert (third["full"][0] == [255, 0, 0]).all()
    assert np.array_equal(third["full"][1], decode(root / "c.png"))
    fresh, expected, _ = build(root, listing_of(root), SIZES, tmp_path / "fresh", decoding=HERE)
    assert {store.folder.name for store in fresh.values()} == {store.folder.name for store in third.values()}
    pd.testing.assert_frame_equal(accepted, expected)
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_another_order_decodes_nothing_and_another_size_or_decoder_everything(root, tmp_path, monkeypatch):
    build(root, listing_of(root), [Resize()], tmp_path / "out", decoding=HERE)
    names = decoded_names(monkeypatch)
    stores, accepted, _ = build(root, listing_of(root, ["c.png", "b.png"]), [Resize()], tmp_path / "out", decoding=HERE)
    assert names == []
    assert list(accepted["path"]) == ["c.png", "b.png"]
    assert np.array_equal(stores["full"][0], decode(root / "c.png"))
    build(root, listing_of(root, ["c.png", "b.png"]), [Resize(), Resize(size=4)], tmp_path / "out", decoding=HERE)
    assert names == ["c.png", "b.png"]
    for module in (earlier_build, store_builder):
        monkeypatch.setattr(module, "DECODER", "another version")
    build(root, listing_of(root, ["c.png", "b.png"]), [Resize()], tmp_path / "out", decoding=HERE)
    assert names == ["c.png", "b.png"] * 2


def test_images_that_vanish_or_cannot_be_read_meanwhile_are_quarantined(root, tmp_path):
    def remove(done, total):
        (root / "c.png").unlink(missing_ok=True)  # after the listing and the hashes, before it is its turn

    listing = as_listing([Listed(f"{name}.png", "x") for name in "abc"])
    _, accepted, quarantine = build(root, listing, [Resize()], tmp_path / "out", decoding=HERE, report=remove)
    assert list(accepted["path"]) == ["a.png", "b.png"]
    gone = ["c.png", "quarantined", "It cannot be read: No such file or directory."]
    assert quarantine.to_numpy().tolist() == [gone]
    Image.new("RGB", (3, 3)).save(root / "c.png")
    _, accepted, quarantine = build(root, listing, [Resize()], tmp_path / "out", decoding=HERE)
    assert list(accepted["path"]) == ["a.png", "b.png", "c.png"], "a reason of another time does not stick"
    assert quarantine.empty


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that fails when it is read, of Linux")
def test_a_file_whose_disk_fails_is_quarantined(root, tmp_path):
    (root / "d.png").symlink_to("/proc/self/mem")
    _, accepted, quarantine = build(root, listing_of(root), [Resize()], tmp_path / "out", decoding=HERE)
    assert len(accepted) == 3
    assert quarantine.to_numpy().tolist() == [["d.png", "quarantined", "It cannot be read: Input/output error."]]


def test_a_build_that_fails_leaves_what_was_there(root, tmp_path):
    stores, _, _ = build(root, listing_of(root), [Resize()], tmp_path / "out", decoding=HERE)

    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    Image.new("RGB", (3, 3)).save(root / "e.png")
    with pytest.raises(KeyboardInterrupt):
        build(root, listing_of(root), [Resize()], tmp_path / "out", decoding=HERE, report=interrupt)
    assert list((tmp_path / "out").iterdir()) == [stores["full"].folder]
    assert len(stores["full"][0]) == 10


def test_no_usable_image_is_an_error(tmp_path):
    (tmp_path / "a.jpg").write_text("x")
    with pytest.raises(BuildError, match=r"none of the 1 listed images can be used: a.jpg: Its content"):
        build(tmp_path, as_listing([Listed("a.jpg", "x")]), [Resize()], tmp_path / "out", decoding=HERE)
    with pytest.raises(BuildError, match="listing is empty"):
        build(tmp_path, as_listing([]), [Resize()], tmp_path / "out", decoding=HERE)


def test_of_the_ants_and_bees_only_the_placeholder_is_quarantined(shared_data, tmp_path):
    with zipfile.ZipFile(shared_data / "hymenoptera_data.zip") as archive:
        wanted = [name for name in archive.namelist() if "/ants/1" in name or not name.endswith(".jpg")]
        archive.extractall(tmp_path, [*wanted, *(name for name in archive.namelist() if "/bees/10" in name)])
    listing, ignored = list_images(tmp_path / "hymenoptera_data", ClassFolders())
    _, accepted, quarantine = build(
        tmp_path / "hymenoptera_data", listing, [Resize(size=32)], tmp_path / "out", decoding=Decoding(workers=2)
    )
    assert ignored.empty
    assert list(quarantine["path"]) == ["train/ants/imageNotFound.gif"]
    assert "placeholder" in quarantine["reason"].iloc[0]
    assert "train/ants/formica.jpeg" in set(accepted["path"])
    assert len(listing) == len(accepted) + 1


def greys(root, *ranges):
    """Grey images of 16 bits, each from one value to another; what they are for is a table of their names."""
    root.mkdir(exist_ok=True)
    for number, (low, high) in enumerate(ranges):
        Image.fromarray(np.linspace(low, high, 64).round().astype(np.uint16).reshape(8, 8)).save(root / f"{number}.png")
    return listing_of(root)


def test_all_images_of_a_data_set_share_one_range_of_grey(tmp_path, caplog):
    listing = greys(tmp_path / "greys", (51_241, 51_800), (51_600, 52_181))
    stores, _, _ = build(tmp_path / "greys", listing, [Resize()], tmp_path / "out", HERE)
    store = stores["full"]
    assert store.levels == Levels(low=51_241, high=52_181)
    assert (store[0].min(), store[1].max()) == (0, 255)
    expected = (np.linspace(51_241, 51_800, 64).round() - 51_241) / 940 * 255
    assert np.abs(store[0][..., 0].ravel() - expected).max() <= 0.5
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [], "each uses more than half of the levels"


def test_a_new_range_decodes_everything_again_and_the_same_one_nothing(tmp_path, monkeypatch):
    root, out = tmp_path / "greys", tmp_path / "out"
    listing = greys(root, (0, 4095), (100, 900))
    build(root, listing, [Resize()], out, HERE)
    names = decoded_names(monkeypatch)
    build(root, listing, [Resize()], out, HERE)
    assert names == []
    inside = greys(root, (0, 4095), (100, 900), (500, 600))
    build(root, inside, [Resize()], out, HERE)
    assert names == ["2.png"], "it changes no range"
    names.clear()
    wider = greys(root, (0, 4095), (100, 900), (500, 5000))
    stores, _, _ = build(root, wider, [Resize()], out, HERE)
    assert names == ["0.png", "1.png", "2.png"]
    assert stores["full"].levels == Levels(low=0, high=5000)
    for chosen, levels in [((0.0, 100.0), Levels(low=0, high=100)), ("file", Levels())]:
        names.clear()
        stores, _, _ = build(root, wider, [Resize()], out, Decoding(workers=0, range=chosen))
        assert len(names) == 3
        assert stores["full"].levels == levels


def test_few_levels_of_grey_are_warned_of(tmp_path, caplog):
    listing = greys(tmp_path / "greys", (0, 65_535), (1_000, 1_500), (2_000, 2_400))
    build(tmp_path / "greys", listing, [Resize()], tmp_path / "out", HERE)
    (message,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert "3 images have values of more than 8 bits: from 0 (black) to 65535 (white)" in message
    assert "at most 1 of the 256 levels" in message
    assert "dataset.range" in message


@pytest.mark.parametrize(("chosen", "is_warned"), [("dataset", True), ((0, 65_535), False)])
def test_files_of_8_bits_beside_deeper_ones_are_warned_of(tmp_path, caplog, chosen, is_warned):
    greys(tmp_path / "greys", (5_000, 20_000))
    Image.new("L", (8, 8), 40).save(tmp_path / "greys" / "shallow.png")
    build(
        tmp_path / "greys",
        listing_of(tmp_path / "greys"),
        [Resize()],
        tmp_path / "out",
        Decoding(range=chosen, workers=0),
    )
    assert ("the same picture is not as bright in both" in caplog.text) is is_warned


@pytest.mark.parametrize("odd", [-3.4e38, 1e9])
def test_a_single_pixel_that_takes_the_range_is_warned_of(tmp_path, caplog, odd):
    values_HW = np.linspace(0, 1000, 400, dtype=np.float32).reshape(20, 20)
    values_HW[3, 4] = odd  # no value, or a hot pixel
    (tmp_path / "greys").mkdir()
    for name in "ab":
        Image.fromarray(values_HW).save(tmp_path / "greys" / f"{name}.tif")
    build(tmp_path / "greys", listing_of(tmp_path / "greys"), [Resize()], tmp_path / "out", HERE)
    assert "at most 0 of the 256 levels that are kept, but for single pixels" in caplog.text


def test_images_of_8_bits_have_no_range(root, tmp_path):
    stores, _, _ = build(root, listing_of(root), [Resize()], tmp_path / "out", HERE)
    assert stores["full"].levels is None
    settings = {"range": "dataset", "max_pixels": 178_956_970, "channels": None}
    assert stores["full"].decoding == {**settings, "levels": None}


def test_channels_share_the_range_of_the_data_set_and_stand_in_the_levels(tmp_path):
    rng, rows = np.random.default_rng(0), []
    for number in range(2):
        values = rng.integers(100 * number, 1000, (6, 6, 5)).astype(np.uint16)
        values[..., 4] = 60_000  # not asked for, so of no account
        tifffile.imwrite(tmp_path / f"{number}.tif", values, photometric="minisblack", planarconfig="contig")
        rows.append(Listed(f"{number}.tif", "ab"[number]))
    chosen = Decoding(workers=0, channels=(3, 2, 1))
    stores, accepted, _ = build(tmp_path, as_listing(rows), [Resize()], tmp_path / "out", chosen)
    levels = stores["full"].levels
    assert len(accepted) == 2
    assert levels.channels == (3, 2, 1)
    assert levels.high < 1000
    assert np.array_equal(stores["full"][1], decode(tmp_path / "1.tif", Rules(levels=levels)))
    others, _, _ = build(tmp_path, as_listing(rows), [Resize()], tmp_path / "out", Decoding(workers=0, channels=(5,)))
    assert others["full"].levels == Levels(low=60_000, high=60_000, channels=(5,))
