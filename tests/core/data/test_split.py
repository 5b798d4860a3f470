import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.core.data.split.config import SplitConfig, SplitError
from transferlab.core.data.split.index import EXCLUDED, INDEX, assign, exclude, limited
from transferlab.core.validation import FieldProblems


def table(strata, split=""):
    """Accepted rows: `strata` maps (class, stratum) to the number of images."""
    rows = [
        (f"{name}/{group}/{i}.png", name, split, group, "", 8, 8, f"{name}{group}{i}")
        for (name, group), count in strata.items()
        for i in range(count)
    ]
    return pd.DataFrame(
        rows, columns=["path", "class", "split", "stratify", "group", "width", "height", "pixel_sha256"]
    )


STRATA = st.dictionaries(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["", "mono", "poly"])), st.integers(1, 40), min_size=1
)


@settings(deadline=None)
@given(STRATA, st.floats(0.05, 0.95), st.floats(0, 0.9), st.integers(0, 5), st.randoms(use_true_random=False))
def test_splits_are_disjoint_covering_stratified_and_know_no_order(strata, test, validation, seed, random):
    accepted = table({**strata, ("x", ""): 60, ("y", ""): 60})
    config = SplitConfig(test=test, validation=validation, seed=seed)
    try:
        index = assign(accepted, config)
    except SplitError as error:
        assert "none of its" in str(error)  # noqa: PT017 - a class too small for the shares
        return
    assert list(index.columns) == INDEX
    assert list(index["path"]) == list(accepted["path"])
    assert set(index["split"]) <= {"train", "validation", "test"}
    held_out = index["split"] == "test"
    assert held_out.sum() == round(test * len(index))
    for columns in (["class"], ["class", "stratify"]):
        for _, rows in index.groupby(columns):
            share = held_out.sum() / len(index)
            assert abs((rows["split"] == "test").sum() - share * len(rows)) < 1
            rest = rows[rows["split"] != "test"]
            share = (index["split"] == "validation").sum() / (~held_out).sum()
            assert abs((rest["split"] == "validation").sum() - share * len(rest)) < 1

    order = list(range(len(accepted)))
    random.shuffle(order)
    shuffled = assign(accepted.iloc[order], config)
    assert shuffled.set_index("path")["split"].to_dict() == index.set_index("path")["split"].to_dict()


@settings(deadline=None)
@given(STRATA, st.integers(4, 200), st.integers(0, 3))
def test_a_part_is_exact_and_stratified(strata, limit, seed):
    listing = table(strata)[["path", "class", "split", "stratify", "group"]]
    try:
        chosen = limited(listing, SplitConfig(limit=limit, seed=seed))
    except SplitError as error:
        assert "dataset.split.limit" in str(error)  # noqa: PT017 - a class too small for the limit
        return
    assert set(chosen["class"]) == set(listing["class"])
    assert len(chosen) == min(limit, len(listing))
    assert chosen["path"].is_unique
    for keys, rows in listing.groupby(["class", "stratify"]):
        count = ((chosen["class"] == keys[0]) & (chosen["stratify"] == keys[1])).sum()
        assert abs(count - len(chosen) / len(listing) * len(rows)) < 1
    order = {path: i for i, path in enumerate(listing["path"])}
    assert [order[path] for path in chosen["path"]] == sorted(order[path] for path in chosen["path"])


def test_a_seed_fixes_the_split_for_ever():
    accepted = table({("a", ""): 6, ("b", ""): 6})
    index = assign(accepted, SplitConfig(test=0.34, seed=1))
    assert list(index.loc[index["split"] == "test", "path"]) == ["a//1.png", "a//3.png", "b//0.png", "b//3.png"]
    assert list(index["split"]) != list(assign(accepted, SplitConfig(test=0.34, seed=2))["split"])


def test_labels_follow_the_classes():
    accepted = table({("a", ""): 8, ("b", ""): 8})
    index = assign(accepted, SplitConfig(), ["b", "a"])
    assert index["label"].dtype == np.int64
    assert set(index.loc[index["class"] == "b", "label"]) == {0}
    assert assign(accepted, SplitConfig())["label"].tolist() == [0] * 8 + [1] * 8


def test_given_splits_are_kept_and_validation_carved_from_train():
    strata = {("a", ""): 10, ("b", ""): 10}
    accepted = pd.concat([table(strata, "train"), table(strata, "test").assign(path=lambda t: "test/" + t["path"])])
    assert (assign(accepted, SplitConfig())["split"].to_numpy() == accepted["split"].to_numpy()).all()
    index = assign(accepted, SplitConfig(validation=0.2))
    assert index.groupby(["split", "class"]).size().to_dict() == {
        ("test", "a"): 10, ("test", "b"): 10, ("train", "a"): 8, ("train", "b"): 8,
        ("validation", "a"): 2, ("validation", "b"): 2,
    }  # fmt: skip
    assert (assign(index, SplitConfig(validation=0.4))["split"].to_numpy() == index["split"].to_numpy()).all()


def test_what_cannot_be_split_is_explained():
    accepted = table({("a", ""): 20, ("b", ""): 1})
    with pytest.raises(SplitError, match="class 'b' has none of its 1 usable images in the"):
        assign(accepted, SplitConfig())
    with pytest.raises(SplitError, match=r"class 'c' has no usable image \(the quarantine"):
        assign(table({("a", ""): 8, ("b", ""): 8}), SplitConfig(), ["a", "b", "c"])
    with pytest.raises(SplitError, match=r"does not know: \['b'\]"):
        assign(accepted, SplitConfig(), ["a"])
    with pytest.raises(SplitError, match="at least two"):
        assign(table({("a", ""): 8}), SplitConfig())
    with pytest.raises(SplitError, match="20 of 21 images have no split"):
        assign(accepted.assign(split=[""] * 20 + ["test"]), SplitConfig())
    with pytest.raises(FieldProblems, match=r"test.*validation.*limit"):
        SplitConfig(test=1, validation=1, limit=0)


def test_a_limit_that_would_lose_a_class_is_refused():
    listing = table({("a", ""): 100, ("b", ""): 2})[["path", "class", "split", "stratify", "group"]]
    with pytest.raises(SplitError, match=r"dataset.split.limit: 4 images of 102 leave none of class 'b', which has 2"):
        limited(listing, SplitConfig(limit=4))


def test_excluded_images_keep_their_row_and_have_no_part():
    index = assign(table({("a", ""): 12, ("b", ""): 12}), SplitConfig(validation=0.3))
    train = index.loc[index["split"] == "train", "path"]
    validation = index.loc[index["split"] == "validation", "path"]
    gone = [train.iloc[0], validation.iloc[0]]
    left = exclude(index, gone)
    assert list(left["path"]) == list(index["path"])
    assert list(left.loc[left["split"] == EXCLUDED, "path"]) == sorted(gone)
    assert (left["split"] == index["split"]).sum() == len(index) - 2


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_class_or_split_that_exclusion_would_empty_is_an_error(split):
    index = assign(table({("a", ""): 12, ("b", ""): 12}), SplitConfig(validation=0.3))
    own = index[index["split"] == split]
    lost = len(own[own["class"] == "b"])
    message = f"class 'b' has none of its 12 usable images, {lost} of them excluded as duplicates, in the {split} split"
    with pytest.raises(SplitError, match=message):
        exclude(index, set(own.loc[own["class"] == "b", "path"]))
    with pytest.raises(SplitError, match=f"in the {split} split"):
        exclude(index, set(own["path"]))


def test_one_image_of_each_class_is_too_few():
    with pytest.raises(SplitError, match="class 'a' has none of its 1 usable images in the"):
        assign(table({("a", ""): 1, ("b", ""): 1}), SplitConfig())


def test_a_validation_split_that_is_asked_for_is_never_empty():
    images = table({("a", ""): 12, ("b", ""): 12})
    images["group"] = images["class"] + (images.index % 3).astype(str)
    with pytest.raises(SplitError, match=r"in the validation split \(3 groups, each of which stays whole\)"):
        assign(images, SplitConfig(validation=0.2, groups="patient"))
