"""Along columns and then along rows, the same pixels are made as point by point."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.core.runtime.seeding import generator
from transferlab.core.transforms import augment, resample, separable
from transferlab.core.transforms.geometry import scale_shift
from transferlab.core.transforms.operations import RandomCrop, RandomFlip, RandomResizedCrop, RandomRotation
from transferlab.core.transforms.pixels import HostImages
from transferlab.core.transforms.view import View

CPU = torch.device("cpu")
SIZE = resample.LEAST_SEPARABLE
INTERPOLATIONS = ["bilinear", "bicubic"]
# `grid_sample` is told points from -1 to 1, so that those of large images are off by some 1e-5 px.
ROUNDING = 2e-4


@pytest.fixture(autouse=True)
def few_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, *resample.MOST_SEPARABLE_THREADS.values()))
    yield
    torch.set_num_threads(before)


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def view(size=SIZE, interpolation="bicubic"):
    nothing = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    return View(size=size, resize=size + 12, mode="short_side", interpolation=interpolation, **nothing)


def alone_and_together(images, draws, size, interpolation):
    """Every image rendered by itself, and all in one batch."""
    batch, each = HostImages(images, CPU), torch.split(torch.arange(len(images)), 1)
    alone = [resample.resample(batch.take(row), draws.take(row), size, interpolation) for row in each]
    return torch.cat(alone), resample.resample(batch, draws, size, interpolation)


shapes = st.tuples(st.integers(1, 150), st.integers(1, 150))
ends = st.tuples(st.floats(-40, 190), st.floats(-40, 190)).filter(lambda pair: abs(pair[0] - pair[1]) > 1e-3)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(shapes, ends, ends), min_size=1, max_size=4),
    st.integers(1, 130),
    st.sampled_from(INTERPOLATIONS),
    st.booleans(),
)
def test_points_of_any_upright_view_are_sampled_alike(images, size, interpolation, reflect):
    x, y = (torch.tensor([image[axis] for image in images]) for axis in (1, 2))
    scale = [(axis[:, 1] - axis[:, 0]) / size for axis in (x, y)]
    map_B23 = scale_shift(*scale, x[:, 0], y[:, 0])[:, :2]
    batch = HostImages([noise(shape) for shape, _, _ in images], CPU)
    ours = separable.sample(batch, map_B23, size, interpolation, reflect)
    points = resample.at_points(batch, augment.Draws(map_B23, reflect), size, interpolation)
    assert separable.is_upright(map_B23).all()
    difference = (ours - points).abs()
    if not reflect:  # a point on an edge, up to rounding, may be taken to lie on either side of it
        black = (ours == 0).all(dim=1) != (points == 0).all(dim=1)
        difference = difference * ~black[:, None]
        assert black.float().mean() < 0.05
    assert difference.max() < ROUNDING


@pytest.mark.parametrize(
    "operations", [(), (RandomFlip(p=1.0),), (RandomFlip(axis="vertical", p=1.0),), (RandomCrop(),)]
)
def test_a_view_of_whole_pixels_has_the_very_bytes(operations):
    image_HWC, how = noise((SIZE + 12, SIZE + 31)), view()
    draws = how.draw(np.array([image_HWC.shape[:2]]), operations, generator(0))
    x_3SS = how.render(HostImages([image_HWC], CPU), draws)[0]
    (scale_x, _, left), (_, scale_y, top) = draws.map_N23[0].tolist()
    y, x = (
        (scale * (np.arange(SIZE) + 0.5) + shift - 0.5).astype(int)
        for scale, shift in ((scale_y, top), (scale_x, left))
    )
    assert torch.equal(x_3SS, torch.from_numpy(image_HWC[np.ix_(y, x)]).permute(2, 0, 1).float() / 255)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("size", [32, SIZE])
def test_an_image_looks_the_same_beside_any_others(size, interpolation):
    shapes_N2 = [(size // 2, size // 3), (3 * size, size), (size, 2 * size), (5, 7)]
    images = [noise(shape, seed) for seed, shape in enumerate(shapes_N2)]
    for operations in [(), (RandomResizedCrop(), RandomFlip()), (RandomRotation(degrees=20),)]:
        draws = view(size, interpolation).draw(np.array(shapes_N2), operations, generator(1))
        alone, together = alone_and_together(images, draws, size, interpolation)
        assert torch.allclose(alone, together, atol=ROUNDING)


def test_what_is_turned_is_sampled_point_by_point():
    images = HostImages([noise((120, 140))], CPU)
    draws = view().draw(images.shape_N2, (RandomRotation(degrees=20),), generator(1))
    assert not separable.is_upright(draws.map_N23).any()
    points = resample.at_points(images, draws, SIZE, "bicubic")
    assert torch.equal(resample.resample(images, draws, SIZE, "bicubic"), points)


@pytest.mark.parametrize(("size", "threads", "by_lines"), [(0, 0, True), (-1, 0, False), (0, 1, False)])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_large_views_are_sampled_along_lines_by_few_threads(size, threads, by_lines, interpolation):
    size += SIZE
    torch.set_num_threads(resample.MOST_SEPARABLE_THREADS[interpolation] + threads)
    images = HostImages([noise((120, 140))], CPU)
    draws = view(size, interpolation).draw(images.shape_N2, (RandomResizedCrop(),), generator(1))
    found = resample.resample(images, draws, size, interpolation)
    points = resample.at_points(images, draws, size, interpolation)
    lines = separable.sample(images, draws.map_N23, size, interpolation, draws.reflect)
    assert not torch.equal(points, lines)
    assert torch.equal(found, lines if by_lines else points)


def test_an_image_may_lie_in_memory_in_any_way():
    image_HWC = noise((120, 140))
    turned = np.ascontiguousarray(image_HWC.transpose(1, 0, 2)).transpose(1, 0, 2)
    draws = view().draw(np.array([(120, 140)]), (RandomResizedCrop(),), generator(1))
    usual, other = (resample.resample(HostImages([one], CPU), draws, SIZE, "bicubic") for one in (image_HWC, turned))
    assert torch.equal(usual, other)


def test_normalising_by_lines_has_the_same_bits():
    how = View(
        size=SIZE, resize=SIZE, mode="short_side", interpolation="bicubic", mean=(0.1, 0.2, 0.3), std=(0.3, 0.2, 0.1)
    )
    images = HostImages([noise((SIZE, SIZE)), noise((SIZE, SIZE + 5))], CPU)
    draws = how.draw(images.shape_N2, (), None)
    mean, std = torch.tensor([how.mean, how.std])[:, :, None, None]
    assert torch.equal(how.render(images, draws), how.pixels(images, draws).contiguous().sub_(mean).div_(std))
