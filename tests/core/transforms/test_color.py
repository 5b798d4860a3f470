import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tv

from transferlab.core.runtime.seeding import generator
from transferlab.core.transforms import color
from transferlab.core.transforms.operations import ColorJitter

# torchvision's grey has 0.2989 for red, ours the standard's 0.299.
GREY = 2e-4
ADJUST = [tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue]


def images(n=2, seed=0):
    x_B3HW = torch.rand(n, 3, 6, 5, generator=generator(seed))
    x_B3HW[0, :, 0, :3] = torch.tensor([0.0, 1.0, 0.5])  # black, white and grey have no hue
    x_B3HW[0, :, 1, 0] = torch.tensor([0.3, 0.3, 0.9])  # two channels alike
    return x_B3HW


def step(kind, amount, n=2):
    return torch.tensor([[float(kind), amount]]).expand(n, 2)


def adjusted(x_B3HW, steps):
    for step_B2 in steps:
        x_B3HW = color.adjust(x_B3HW.clone(), step_B2)
    return x_B3HW


@pytest.mark.parametrize("kind", range(4), ids=["brightness", "contrast", "saturation", "hue"])
@settings(deadline=None, max_examples=25)
@given(part=st.floats(0, 1), seed=st.integers(0, 99))
def test_each_operation_is_torchvisions(kind, part, seed):
    factor = part - 0.5 if kind == 3 else 3 * part
    x_B3HW = images(seed=seed)
    ours = adjusted(x_B3HW, [step(kind, factor)])
    assert (ours - ADJUST[kind](x_B3HW, factor)).abs().max() < 3 * GREY
    assert ours.min() >= 0
    assert ours.max() <= 1


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_operations_are_applied_in_the_order_drawn(order):
    factors = [1.8, 0.4, 1.7, 0.2]  # brightness clamps, so that the order shows
    steps = [step(kind, factors[kind], n=1) for kind in order]
    expected = x_13HW = images(1)
    for kind in order:
        expected = ADJUST[kind](expected, factors[kind])
    assert (adjusted(x_13HW, steps) - expected).abs().max() < 3 * GREY


def test_every_image_of_a_batch_has_its_own_factors_and_order():
    jitter = ColorJitter(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.3)
    steps = color.steps(jitter, 9, generator(0))
    x_B3HW = images(9)
    alone = torch.cat([adjusted(x_B3HW[i : i + 1], [step_B2[i : i + 1] for step_B2 in steps]) for i in range(9)])
    assert torch.allclose(adjusted(x_B3HW, steps), alone, atol=1e-6)
    assert len(torch.stack(steps)[:, :, 0].unique(dim=1).T) > 3


def test_a_jitter_that_changes_nothing_changes_nothing():
    x_B3HW = images()
    assert torch.allclose(adjusted(x_B3HW, [step(0, 1.0)]), x_B3HW, atol=1e-6)
    assert torch.equal(adjusted(x_B3HW, [step(color.IDENTITY, 0.3)]), x_B3HW)


def test_grey_is_the_luma_of_bt601():
    pure = torch.eye(3)[:, :, None, None]  # red, green, blue
    assert torch.allclose(color.grey(pure).flatten(), torch.tensor([0.299, 0.587, 0.114]))
