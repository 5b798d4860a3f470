import math

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from transferlab.core.runtime.seeding import generator
from transferlab.core.transforms import augment, color, resample
from transferlab.core.transforms.geometry import Geometry, crop_box, scale_shift
from transferlab.core.transforms.operations import (
    ColorJitter,
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    RandomRotation,
)
from transferlab.core.transforms.pixels import HostImages
from transferlab.core.validation import FieldProblems

CPU = torch.device("cpu")
N = 4000
# Two samples of the same distribution fall below this once in a thousand seeds; the seeds here are fixed.
UNLIKELY = 1e-3


def photograph(height, width, seed=0):
    """Smooth colours with some noise: (H, W, 3) uint8."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 5 + c) + np.cos(y / 7 - c) for c in range(3)]
    noise = np.random.default_rng(seed).normal(0, 0.1, (height, width, 3))
    return ((np.stack(waves, axis=-1) / 4 + 0.5 + noise).clip(0, 1) * 255).astype(np.uint8)


def as_tensor(image_HWC):
    return torch.from_numpy(image_HWC).permute(2, 0, 1).float() / 255


def drawn(operations, shape, size, n=1, seed=0):
    """The draws of n images of one stored shape, not resized."""
    size_N2 = torch.tensor([shape]).float().expand(n, 2)
    zero, one = torch.zeros(n), torch.ones(n)
    geometry = Geometry(size_N2, scale_shift(one, one, zero, zero))
    return augment.draw(operations, geometry, size, generator(seed))


def rendered(operations, image_HWC, size, seed=0):
    draws = drawn(operations, image_HWC.shape[:2], size, seed=seed)
    return resample.resample(HostImages([image_HWC], CPU), draws, size, "bilinear")[0], draws.map_N23[0]


# ---- the same numbers as torchvision for the same parameters ---------------------------------------------------------
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("shape", [(40, 60), (61, 33)])
def test_random_resized_crop_is_torchvisions_crop_and_resize(seed, shape):
    operation, image_HWC = RandomResizedCrop(), photograph(*shape)
    box = crop_box(operation, torch.tensor([shape]).float(), generator(seed))
    top, left, height, width = (int(value) for value in box)
    ours, _ = rendered((operation,), image_HWC, 24, seed)
    inner = tv.resized_crop(as_tensor(image_HWC), top, left, height, width, [24, 24], antialias=False)
    # torchvision cuts the crop out first and repeats its edge; ours goes on into the image, as a lens would.
    margin = math.ceil(24 / min(height, width) / 2)
    inside = slice(margin, 24 - margin)
    assert (ours - inner)[:, inside, inside].abs().max() < 1 / 255


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("seed", range(8))
def test_random_crop_is_torchvisions_pad_and_crop(seed, mode):
    image_HWC = photograph(32, 32)
    ours, map_23 = rendered((RandomCrop(padding=4, padding_mode=mode),), image_HWC, 32, seed)
    left, top = (int(shift) for shift in map_23[:, 2])
    padded = tv.pad(as_tensor(image_HWC), 4, padding_mode={"zeros": "constant"}.get(mode, mode))
    expected = tv.crop(padded, top + 4, left + 4, 32, 32)
    assert torch.allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(("axis", "flip"), [("horizontal", tv.horizontal_flip), ("vertical", tv.vertical_flip)])
@pytest.mark.parametrize("shape", [(32, 32), (33, 41)])
def test_a_flip_is_a_mirror_image(axis, flip, shape):
    image_HWC = photograph(*shape)
    ours, _ = rendered((RandomFlip(axis=axis, p=1.0),), image_HWC, 24)
    expected = tv.center_crop(flip(as_tensor(image_HWC)), [24, 24])
    assert torch.allclose(ours, expected, atol=1e-5)
    unflipped, _ = rendered((RandomFlip(axis=axis, p=0.0),), image_HWC, 24)
    assert torch.allclose(unflipped, tv.center_crop(as_tensor(image_HWC), [24, 24]), atol=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_a_rotation_is_torchvisions(seed):
    image_HWC = photograph(32, 32)
    ours, map_23 = rendered((RandomRotation(degrees=180),), image_HWC, 32, seed)
    degrees = math.degrees(math.atan2(map_23[0, 1], map_23[0, 0]))
    bilinear = tv.InterpolationMode.BILINEAR
    expected = tv.rotate(as_tensor(image_HWC), -degrees, interpolation=bilinear)
    whole = tv.rotate(torch.ones(1, 32, 32), -degrees, interpolation=bilinear)[0]
    # At the border torchvision fades to black over half a pixel; ours ends there.
    assert (ours - expected)[:, whole > 0.999].abs().max() < 1 / 255
    assert not ours[:, whole == 0].any()


def test_geometry_composes_in_the_order_written():
    image_HWC = photograph(40, 52)
    operations = (RandomFlip(p=1.0), RandomRotation(degrees=30), RandomCrop())
    for seed in range(4):
        ours, _ = rendered(operations, image_HWC, 20, seed)
        rng = generator(seed)
        torch.rand(1, generator=rng)  # the flip
        degrees = float(2 * torch.rand(1, generator=rng) - 1) * 30
        corner = (torch.rand(1, 2, generator=rng)[0] * torch.tensor([21, 33])).floor().int().tolist()
        turned = tv.rotate(
            tv.horizontal_flip(as_tensor(image_HWC)), degrees, interpolation=tv.InterpolationMode.BILINEAR
        )
        whole = tv.rotate(torch.ones(1, 40, 52), degrees, interpolation=tv.InterpolationMode.BILINEAR)
        expected, whole = (tv.crop(x, *corner, 20, 20) for x in (turned, whole))
        assert (ours - expected)[:, whole[0] > 0.999].abs().max() < 1 / 255


# ---- the same distribution as torchvision ----------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(200, 300), (300, 120)])
def test_crops_are_distributed_as_torchvisions(shape):
    ours = torch.stack(
        crop_box(RandomResizedCrop(), torch.tensor([shape]).float().expand(N, 2), generator(1)), dim=1
    ).numpy()
    torch.manual_seed(1)
    transform, blank = v2.RandomResizedCrop(24), torch.empty(3, *shape)
    theirs = np.array([list(transform.make_params([blank]).values()) for _ in range(N)], dtype=float)
    for name, measure in {
        "area": lambda box: box[:, 2] * box[:, 3],
        "ratio": lambda box: box[:, 3] / box[:, 2],
        "top": lambda box: box[:, 0] / np.maximum(1, shape[0] - box[:, 2]),
        "left": lambda box: box[:, 1] / np.maximum(1, shape[1] - box[:, 3]),
        "height": lambda box: box[:, 2],
        "width": lambda box: box[:, 3],
    }.items():
        assert stats.ks_2samp(measure(ours), measure(theirs)).pvalue > UNLIKELY, name


@pytest.mark.parametrize(("shape", "centre"), [((10, 300), (0, 143, 10, 13)), ((300, 10), (143, 0, 13, 10))])
def test_where_no_crop_fits_the_centre_is_taken(shape, centre):
    operation = RandomResizedCrop(scale=(1.0, 1.0))
    box = crop_box(operation, torch.tensor([shape]).float(), generator(0))
    assert tuple(int(value) for value in box) == centre
    assert tuple(v2.RandomResizedCrop(8, scale=(1, 1)).make_params([torch.empty(3, *shape)]).values()) == centre


def test_every_place_of_a_random_crop_is_as_likely():
    corners = drawn((RandomCrop(padding=2),), (9, 12), 8, N).map_N23[:, :, 2].int().numpy()
    places = np.unique(corners, axis=0, return_counts=True)
    assert places[0].min(axis=0).tolist() == [-2, -2]
    assert places[0].max(axis=0).tolist() == [12 - 8 + 2, 9 - 8 + 2]
    assert len(places[0]) == 9 * 6
    assert stats.chisquare(places[1]).pvalue > UNLIKELY


def test_angles_are_uniform_in_both_directions():
    maps_N23 = drawn((RandomRotation(degrees=25),), (20, 30), 16, N).map_N23
    degrees = torch.rad2deg(torch.atan2(maps_N23[:, 1, 0], maps_N23[:, 0, 0])).numpy()
    assert stats.kstest(degrees, stats.uniform(-25, 50).cdf).pvalue > UNLIKELY


@pytest.mark.parametrize("p", [0.5, 0.1])
def test_flips_come_with_their_probability(p):
    flipped = (drawn((RandomFlip(p=p),), (20, 30), 16, N).map_N23[:, 0, 0] < 0).sum().item()
    assert stats.binomtest(flipped, N, p).pvalue > UNLIKELY


def test_jitter_factors_are_torchvisions():
    operation = ColorJitter(brightness=0.3, contrast=1.5, saturation=0.2, hue=0.1)
    steps_4N2 = torch.stack(color.steps(operation, N, generator(2))).numpy()
    torch.manual_seed(2)
    transform = v2.ColorJitter(0.3, 1.5, 0.2, 0.1)
    params = [transform.make_params([]) for _ in range(N)]
    for column, key in enumerate(["brightness_factor", "contrast_factor", "saturation_factor", "hue_factor"]):
        theirs = [float(drawn[key]) for drawn in params]
        ours = steps_4N2[steps_4N2[:, :, 0] == column][:, 1]
        assert stats.ks_2samp(ours, theirs).pvalue > UNLIKELY, key
    orders, counts = np.unique(steps_4N2[:, :, 0], axis=1, return_counts=True)
    assert orders.shape == (4, 24)
    assert stats.chisquare(counts).pvalue > UNLIKELY


def test_parameters_are_independent_of_each_other():
    box = torch.stack(crop_box(RandomResizedCrop(), torch.full((N, 2), 300.0), generator(3)))
    area, ratio = box[2] * box[3], box[3] / box[2]
    jitter = ColorJitter(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.5)
    steps_N42 = torch.stack(color.steps(jitter, N, generator(3)), dim=1)
    by_kind_N4 = steps_N42[..., 1].gather(1, steps_N42[..., 0].argsort(dim=1))
    columns = [*by_kind_N4.T, steps_N42[:, 0, 0]]
    pairs = [(columns[i], columns[j]) for i in range(5) for j in range(i)] + [(area, ratio)]
    # The largest of eleven correlations of independent samples exceeds 4 / sqrt(N) once in a thousand seeds.
    assert max(abs(np.corrcoef(a, b)[0, 1]) for a, b in pairs) < 4 / math.sqrt(N)


# ---- a table, a row per image ----------------------------------------------------------------------------------------
ALL = (
    RandomResizedCrop(),
    RandomFlip(),
    RandomRotation(degrees=10),
    ColorJitter(brightness=0.5),
    RandomCrop(padding=2),
)


def test_the_same_seed_draws_the_same_table():
    one, again, other = (drawn(ALL, (40, 50), 32, 20, seed) for seed in (0, 0, 1))
    assert torch.equal(one.map_N23, again.map_N23)
    assert torch.equal(one.colour_N2[0], again.colour_N2[0])
    assert not (one.map_N23 == other.map_N23).all(dim=(1, 2)).any()
    assert not torch.equal(one.colour_N2[0], other.colour_N2[0])


def test_images_of_a_split_draw_for_themselves():
    draws = drawn(ALL, (40, 50), 32, 20)
    assert len(draws.map_N23.unique(dim=0)) == len(torch.cat(draws.colour_N2, dim=1).unique(dim=0)) == 20


def test_rows_are_taken_whole():
    draws, rows = drawn(ALL, (40, 50), 32, 20), torch.tensor([7, 3, 7])
    taken = draws.take(rows)
    assert torch.equal(taken.map_N23, draws.map_N23[rows])
    assert torch.equal(taken.colour_N2[0], draws.colour_N2[0][rows])
    assert taken.reflect is draws.reflect


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: RandomResizedCrop(scale=(0.5, 0.1)), "scale"),
        (lambda: RandomResizedCrop(scale=(0.0, 1.0)), "scale"),
        (lambda: RandomResizedCrop(ratio=(2.0, 1.0)), "ratio"),
        (lambda: RandomResizedCrop(size=0), "size"),
        (lambda: RandomCrop(padding=-1), "padding"),
        (lambda: RandomFlip(p=1.1), "p"),
        (lambda: RandomRotation(degrees=200), "degrees"),
        (lambda: ColorJitter(hue=0.6), "hue"),
        (lambda: ColorJitter(contrast=-0.1, hue=0.1), "contrast"),
        (lambda: ColorJitter(), "brightness"),
    ],
)
def test_impossible_operations_are_refused_by_key(make, key):
    with pytest.raises(FieldProblems) as caught:
        make()
    assert [problem.field for problem in caught.value.problems] == [key]
