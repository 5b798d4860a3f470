import numpy as np
import pandas as pd
import pytest
from tiny import photographs, store_of

from transferlab.core.data.statistics import channel_statistics, class_counts


def test_mean_and_deviation_are_over_pixels(tmp_path):
    images = [np.full((4, 6, 3), value, np.uint8) for value in (0, 255)]
    images.append(np.full((8, 6, 3), 255, np.uint8))  # twice as many pixels, twice the weight
    found = channel_statistics(store_of(tmp_path, images), np.arange(3))
    assert found["mean"] == pytest.approx([0.75] * 3)
    # Within each image nothing varies: the mean of their own deviations would be zero.
    assert found["std"] == pytest.approx([np.sqrt(0.75 * 0.25)] * 3)


def test_only_the_rows_asked_for_count(tmp_path):
    images, _ = photographs(6, size=(10, 12))
    store, rows = store_of(tmp_path, images), np.array([1, 4])
    pixels_P3 = np.concatenate([images[row].reshape(-1, 3) for row in rows]) / 255
    found = channel_statistics(store, rows)
    assert found["mean"] == pytest.approx(pixels_P3.mean(axis=0))
    assert found["std"] == pytest.approx(pixels_P3.std(axis=0))


def test_images_without_contrast_do_not_divide_by_zero(tmp_path):
    store = store_of(tmp_path, [np.full((4, 4, 3), 77, np.uint8)])
    found = channel_statistics(store, np.array([0]))
    assert found["mean"] == pytest.approx([77 / 255] * 3)
    assert min(found["std"]) > 0


def test_images_are_counted_per_split_and_class():
    index = pd.DataFrame({"split": ["train", "train", "test", "train"], "class": ["a", "b", "a", "a"]})
    assert class_counts(index) == {"train": {"a": 2, "b": 1}, "test": {"a": 1}}
