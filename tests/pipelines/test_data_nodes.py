"""What the data pipeline's nodes do about images that other splits have too, and classes that nobody could decode."""

import numpy as np
import pytest
from PIL import Image

from transferlab.config.parse import read
from transferlab.config.schema import Dataset
from transferlab.core.data.decoding.batch import Decoding
from transferlab.core.data.listing.table import Listed, as_listing
from transferlab.core.data.split.config import SplitError
from transferlab.core.data.split.index import split_columns, splits_of_trial
from transferlab.core.data.store import Resize
from transferlab.core.data.store_builder import build
from transferlab.pipelines.data import nodes

PER_CLASS = {"train": 6, "validation": 4, "test": 4}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two classes; of two test images train and validation have copies, and of a validation image train has one."""
    folder = tmp_path_factory.mktemp("images")
    rng, rows = np.random.default_rng(0), []
    for split, count in PER_CLASS.items():
        for name in "ab":
            for i in range(count):
                rows.append(Listed(f"{split}_{name}{i}.png", name, split))
                noise = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
                noise.resize((160, 120), Image.Resampling.BICUBIC).save(folder / rows[-1][0])
    for source, copy, split, options in (
        ("test_a0.png", "exact.png", "train", {}),
        ("test_b0.png", "near.jpg", "validation", {"quality": 60}),
        ("validation_a0.png", "also_near.jpg", "train", {"quality": 60}),
    ):
        Image.open(folder / source).save(folder / copy, **options)
        rows.append(Listed(copy, source.split("_")[1][0], split))
    listing = as_listing(rows)
    stores, accepted, _ = build(folder, listing, [Resize(size=96)], folder / "stores", Decoding(workers=0))
    return listing, accepted, stores


def dataset(**settings):
    return read(Dataset, {"source": {"name": "folder", "path": "photographs"}, **settings})


def run(built, **settings):
    listing, accepted, stores = built
    splits = nodes.split_images(accepted, listing, dataset(**settings))
    index, pairs = nodes.find_duplicates(splits, stores, dataset(**settings))
    return index.set_index("path")["split"], pairs, nodes.measure(index, stores)


COPIES = ["also_near.jpg", "exact.png", "near.jpg"]


def test_duplicates_are_reported_and_stay_by_default(built, caplog):
    split, pairs, statistics = run(built)
    assert sorted(pairs["path_a"]) == COPIES
    assert "excluded" not in set(split) | set(statistics["images"])
    assert "3 pairs of photographs across splits" in caplog.text
    assert "dataset.duplicates: exclude" in caplog.text


def test_excluded_ones_are_neither_trained_on_nor_measured_and_the_test_split_stays(built, caplog):
    reported, pairs, all_of_train = run(built)
    split, same_pairs, statistics = run(built, duplicates="exclude")
    assert same_pairs.equals(pairs), "what was excluded, and for which image, is still in the table"
    assert sorted(split.index[split == "excluded"]) == COPIES
    assert split.drop(COPIES).equals(reported.drop(COPIES))
    assert statistics["images"]["excluded"] == {"a": 2, "b": 1}
    assert statistics["mean"] != all_of_train["mean"]
    assert "excluded: 2 from train and 1 from validation" in caplog.text


def test_a_class_none_of_whose_images_can_be_decoded_is_an_error_not_a_class_less(built):
    listing, accepted, _ = built
    more = as_listing([*map(Listed._make, listing.itertuples(index=False)), Listed("torn.png", "c", "train")])
    with pytest.raises(SplitError, match=r"class 'c' has no usable image \(the quarantine table says why\)"):
        nodes.split_images(accepted, more, dataset())


def test_every_re_split_is_in_the_index_and_free_of_its_own_duplicates(built):
    listing, accepted, stores = built
    settings = dataset(duplicates="exclude", split={"resplits": 2, "seed": 1})
    splits = nodes.split_images(accepted, listing, settings)
    index, _ = nodes.find_duplicates(splits, stores, settings)
    assert split_columns(index) == ["split", "split_1"]
    given_test = (accepted["split"] == "test").to_numpy()
    for trial in (0, 1):
        of_trial, drawn = splits_of_trial(index, trial), splits_of_trial(splits, trial)
        assert np.array_equal(of_trial == "test", given_test)
        excluded = index.loc[of_trial == "excluded", "path"]
        assert {"exact.png", "near.jpg"} <= set(excluded), "copies of test images, in whichever part they are"
        copy, original = (drawn[index["path"] == path].item() for path in ("also_near.jpg", "validation_a0.png"))
        assert bool({"also_near.jpg", "validation_a0.png"} & set(excluded)) == (copy != original)
    assert not splits["split"].equals(splits["split_1"])


def test_one_photograph_with_two_labels_is_told(built, caplog):
    listing, accepted, stores = built
    wrong = accepted.assign(**{"class": accepted["class"].where(accepted["path"] != "exact.png", "b")})
    splits = nodes.split_images(wrong, listing, dataset())
    _, pairs = nodes.find_duplicates(splits, stores, dataset())
    assert pairs.iloc[0][["path_a", "class_a", "path_b", "class_b"]].tolist() == ["exact.png", "b", "test_a0.png", "a"]
    assert "exact.png and test_a0.png are, or may be, the same photograph with two labels, b and a: see" in caplog.text
