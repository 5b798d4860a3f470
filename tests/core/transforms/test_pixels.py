"""What is made of images in a GPU's memory is, to the bit, what is made of them point by point in host memory."""

from pathlib import Path
from tempfile import mkdtemp
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import VIEW, store_of

from transferlab.core.runtime.seeding import generator
from transferlab.core.transforms import resample
from transferlab.core.transforms.operations import (
    ColorJitter,
    Cutout,
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    RandomRotation,
)
from transferlab.core.transforms.pixels import HostImages, ResidentImages

CPU = torch.device("cpu")
OPERATIONS = [
    RandomResizedCrop(),
    RandomCrop(padding=4, padding_mode="reflect"),
    RandomFlip(),
    RandomRotation(degrees=30),
    ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2),
    Cutout(size=9),
]
shapes = st.lists(st.tuples(st.integers(1, 70), st.integers(1, 70)), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("stores")


def both(folder, shape_N2, of_split):
    """Rows of a new store, in host memory and as if they were in a device's."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shape_N2]
    store, rows = store_of(Path(mkdtemp(dir=folder)), images), np.array(of_split)
    return HostImages(store.batch(rows), CPU), ResidentImages.of(store, rows, CPU)


def rows_of(shape_N2):
    return st.lists(st.integers(0, len(shape_N2) - 1), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.data(), shapes, st.sets(st.sampled_from(range(len(OPERATIONS)))), st.sampled_from([0, 500, 1 << 25]))
def test_batches_have_the_same_bits(folder, data, shape_N2, chosen, most_wasted):
    on_host, on_device = both(folder, shape_N2, data.draw(st.permutations(range(len(shape_N2)))))
    rows = torch.tensor(data.draw(rows_of(shape_N2)))
    draws = VIEW.draw(on_host.shape_N2, tuple(OPERATIONS[i] for i in sorted(chosen)), generator(0)).take(rows)
    with patch.object(resample, "MOST_WASTED_PIXELS", most_wasted):
        assert torch.equal(VIEW.render(on_host.take(rows), draws), VIEW.render(on_device.take(rows), draws))


@settings(max_examples=60, deadline=None)
@given(st.data(), shapes)
def test_a_canvas_holds_each_image_top_left_and_its_edge_beside(folder, data, shape_N2):
    on_host, on_device = both(folder, shape_N2, range(len(shape_N2)))
    rows = torch.tensor(data.draw(rows_of(shape_N2)))
    canvas_NHW3 = on_device.take(rows).canvas()
    assert canvas_NHW3.dtype == torch.uint8
    assert torch.equal(canvas_NHW3, on_host.take(rows).canvas())
    assert canvas_NHW3.shape[1:3] == tuple(on_device.take(rows).shape_N2.max(axis=0))
    for slot, row in zip(canvas_NHW3.numpy(), rows, strict=True):
        image = on_host.images[row]
        beside = [(0, whole - length) for whole, length in zip(slot.shape, image.shape, strict=True)]
        assert np.array_equal(slot, np.pad(image, beside, mode="edge"))


def test_no_pixel_is_copied_to_choose_images(folder):
    _, on_device = both(folder, [(3, 4), (5, 2)], [1, 0])
    assert on_device.flat_P3.shape == (22, 3)
    assert on_device.take(torch.tensor([1])).flat_P3 is on_device.flat_P3
