import math

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from transferlab.core.runtime.seeding import generator
from transferlab.core.transforms import augment, auto, color, resample
from transferlab.core.transforms.geometry import Geometry, scale_shift
from transferlab.core.transforms.operations import RandAugment, TrivialAugment
from transferlab.core.transforms.pixels import HostImages
from transferlab.core.validation import FieldProblems

N, SIDE = 14_000, 40


def geometry(n, side=SIDE):
    zero = torch.zeros(n)
    return Geometry(torch.full((n, 2), float(side)), scale_shift(zero + 1, zero + 1, zero, zero))


def amounts(step_N2, name):
    return step_N2[step_N2[:, 0] == color.KINDS.index(name)][:, 1]


COLOURS = {
    "posterize": (tv.posterize, [1, 4, 8]),
    "solarize": (tv.solarize, [0.0, 0.3, 1.0]),
    "sharpness": (tv.adjust_sharpness, [0.0, 0.3, 1.0, 1.7]),
    "auto_contrast": (lambda x, _: tv.autocontrast(x), [0.0]),
    "equalize": (lambda x, _: tv.equalize(x), [0.0]),
}


@pytest.mark.parametrize(("name", "amount"), [(name, amount) for name in COLOURS for amount in COLOURS[name][1]])
def test_each_colour_operation_is_torchvisions(name, amount):
    x_B3HW = torch.rand(3, 3, 9, 8, generator=generator(0))
    step_B2 = torch.tensor([[float(color.KINDS.index(name)), amount]]).expand(3, 2)
    assert torch.allclose(color.adjust(x_B3HW.clone(), step_B2), COLOURS[name][0](x_B3HW, amount), atol=1e-6)


@pytest.mark.parametrize(
    ("operation", "theirs"), [(TrivialAugment(), v2.TrivialAugmentWide()), (RandAugment(), v2.RandAugment())]
)
def test_all_fourteen_come_equally_often_and_as_strong_as_torchvisions(operation, theirs):
    drawn, space = geometry(N), type(theirs)._AUGMENTATION_SPACE
    step_N2 = auto.draw(operation, drawn, generator(1))[0]
    kinds = step_N2[:, 0][step_N2[:, 0] != color.IDENTITY]
    counts = torch.bincount(kinds.long(), minlength=len(color.KINDS))
    counts = counts[counts > 0]
    assert len(counts) == 8  # the others are geometry, and nothing at all
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    for ours, key in {
        "brightness": "Brightness",
        "sharpness": "Sharpness",
        "posterize": "Posterize",
        "solarize": "Solarize",
    }.items():
        make, signed = space[key]
        levels = make(31, SIDE, SIDE).float()
        used = levels if isinstance(operation, TrivialAugment) else levels[[9]]
        used = torch.cat([1 + used, 1 - used]) if signed else used
        assert {round(float(a), 4) for a in amounts(step_N2, ours)} == {round(float(a), 4) for a in used}, ours


def test_geometry_is_torchvisions():
    level_N = torch.full((N,), 1.0)
    drawn = geometry(N)
    auto._draw(auto._RAND, level_N, drawn, generator(2))
    maps = {tuple(np.round(row, 4)) for row in drawn.map_N33[:, :2].reshape(N, 6).tolist()}
    rotated = [math.cos(math.radians(30)), math.sin(math.radians(30))]
    shift = 20 - 20 * rotated[0] + 20 * rotated[1], 20 - 20 * rotated[0] - 20 * rotated[1]
    pixels = int(150 / 331 * SIDE)
    expected = {
        (1, 0, 0, 0, 1, 0),
        *((1, s * 0.3, 0, 0, 1, 0) for s in (1, -1)),
        *((1, 0, 0, s * 0.3, 1, 0) for s in (1, -1)),
        *((1, 0, s * pixels, 0, 1, 0) for s in (1, -1)),
        *((1, 0, 0, 0, 1, s * pixels) for s in (1, -1)),
        (rotated[0], -rotated[1], shift[0], rotated[1], rotated[0], shift[1]),
        (rotated[0], rotated[1], shift[1], -rotated[1], rotated[0], shift[0]),
    }
    assert maps == {tuple(np.round(row, 4)) for row in expected}


def test_a_shear_is_torchvisions():
    image_HWC = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    drawn = geometry(1)
    auto._compose(
        auto._RAND, {name: torch.tensor([name == "shear_x"]) for name in auto._GEOMETRY}, torch.ones(1), drawn
    )
    draws = augment.Draws(drawn.map_N33[:, :2], False)
    ours = resample.resample(HostImages([image_HWC], torch.device("cpu")), draws, SIDE, "bilinear")[0]
    x = torch.from_numpy(image_HWC).permute(2, 0, 1).float() / 255
    shear = [math.degrees(math.atan(0.3)), 0.0]
    bilinear = v2.InterpolationMode.BILINEAR
    theirs = tv.affine(x, 0.0, [0, 0], 1.0, shear, bilinear, center=[0, 0])
    assert (ours - theirs).abs().mean() < 0.02  # torchvision blends the border with black


def test_a_row_depends_on_seed_and_image_alone_and_operations_are_independent():
    draws = [augment.draw((RandAugment(operations=3),), geometry(50), 32, generator(seed)) for seed in (0, 0, 1)]
    assert len(draws[0].colour_N2) == 3
    assert torch.equal(torch.stack(draws[0].colour_N2), torch.stack(draws[1].colour_N2))
    assert not torch.equal(torch.stack(draws[0].colour_N2), torch.stack(draws[2].colour_N2))
    assert not torch.equal(draws[0].colour_N2[0], draws[0].colour_N2[1])


@pytest.mark.parametrize(("key", "value"), [("operations", 0), ("magnitude", 31)])
def test_impossible_settings_are_refused_by_key(key, value):
    with pytest.raises(FieldProblems, match=key):
        RandAugment(**{key: value})
