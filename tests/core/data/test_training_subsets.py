"""Parts of the training images: nested, stratified, group-safe, and nothing of the other splits."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from transferlab.core.data.split.index import exclude
from transferlab.core.data.split.training_subsets import training_subsets


def index_of(images: int, group_size: int = 0) -> pd.DataFrame:
    numbers = np.arange(images)
    index = pd.DataFrame(
        {
            "path": [f"{number:04d}.png" for number in numbers],
            "class": np.where(numbers % 3 == 0, "rare", "common"),
            "split": np.where(numbers % 10 == 0, "test", np.where(numbers % 10 == 1, "validation", "train")),
            "stratify": "",
            "group": "",
        }
    )
    if group_size:
        index["group"] = (numbers // group_size).astype(str)
        index["split"] = np.where(numbers // group_size % 4 == 0, "test", "train")
    return index


def paths_of(subsets: pd.DataFrame) -> dict[tuple[int, int], set[str]]:
    return {key: set(own["path"]) for key, own in subsets.groupby(["draw", "asked"])}


def test_parts_are_nested_stratified_and_of_training_images_alone():
    index = index_of(400)
    subsets = training_subsets(index, draws=3, halvings=4, seed=0)
    sizes = sorted(subsets["asked"].unique())
    assert sizes == [20, 40, 80, 160, 320]
    train = index[index["split"] == "train"]
    parts = paths_of(subsets)
    for draw in range(3):
        for smaller, larger in pairwise(sizes):
            assert parts[draw, smaller] < parts[draw, larger]
        assert parts[draw, 320] == set(train["path"])
        for size in sizes:
            own = train[train["path"].isin(parts[draw, size])]
            assert len(own) == size
            assert (own["class"] == "rare").sum() == pytest.approx(size * (train["class"] == "rare").mean(), abs=1)
    assert parts[0, 20] != parts[1, 20]
    numbers = subsets.groupby("trial")[["draw", "asked"]].first()
    assert list(numbers.index) == list(range(15))
    assert list(numbers["draw"]) == [0, 1, 2] * 5


def test_groups_stay_whole():
    index = index_of(400, group_size=5)
    for (_, asked), paths in paths_of(training_subsets(index, 3, 3, seed=1)).items():
        inside = index["path"].isin(paths)
        assert index[inside].groupby("group").size().eq(5).all()
        assert asked - 5 < len(paths) <= asked


def test_parts_do_not_go_below_what_has_every_class_and_leave_out_what_is_excluded():
    index = index_of(40)
    gone = list(index.loc[index["split"] == "train", "path"][:3])
    subsets = training_subsets(exclude(index, gone), 3, 10, seed=0)
    assert not set(gone) & set(subsets["path"])
    with_class = subsets.merge(index, on="path").groupby("trial")["class"].nunique()
    assert (with_class == 2).all()
    assert len(subsets["asked"].unique()) < 11
