import pytest
import torch
from scipy import stats
from torchvision.transforms import RandomErasing as TorchvisionErasing

from transferlab.core.transforms.augment import draw
from transferlab.core.transforms.erase import boxes, erase
from transferlab.core.transforms.geometry import Geometry
from transferlab.core.transforms.operations import Cutout, RandomErasing
from transferlab.core.validation import FieldProblems

SIZE, N = 32, 3000


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def sides(box_N4):
    return (box_N4[:, 2:] - box_N4[:, :2]).unbind(dim=1)


def test_exactly_the_box_takes_the_colour():
    x_B3SS = torch.rand(3, 3, 8, 8)
    box_B4 = torch.tensor([[1.0, 2, 4, 7], [0, 0, 0, 0], [-3, 6, 2, 12]])
    erased = erase(x_B3SS.clone(), box_B4, (0.1, 0.2, 0.3))
    colour = torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    expected = x_B3SS.clone()
    expected[0, :, 1:4, 2:7] = colour
    expected[2, :, :2, 6:] = colour
    assert torch.equal(erased, expected)


def test_cutout_is_a_square_centred_anywhere():
    box_N4 = boxes(Cutout(size=8), N, SIZE, rng())
    height, width = sides(box_N4)
    assert (height == 8).all()
    assert (width == 8).all()
    centre_N2 = box_N4[:, :2] + 4
    assert (centre_N2.amin(), centre_N2.amax()) == (0, SIZE - 1)
    for axis in range(2):
        counts = torch.bincount(centre_N2[:, axis].long(), minlength=SIZE)
        assert stats.chisquare(counts.numpy()).pvalue > 0.001


@pytest.mark.parametrize("operation", [Cutout(size=4, p=0.3), RandomErasing(p=0.3)])
def test_p_is_the_probability_and_nothing_else_is_touched(operation):
    height, _ = sides(boxes(operation, N, SIZE, rng()))
    assert stats.binomtest(int((height > 0).sum()), N, 0.3).pvalue > 0.001
    assert (boxes(operation, N, SIZE, rng()) == boxes(operation, N, SIZE, rng())).all()


def test_random_erasing_agrees_in_distribution_with_torchvisions():
    box_N4 = boxes(RandomErasing(p=1.0), N, SIZE, rng())
    torch.manual_seed(0)
    image = torch.zeros(3, SIZE, SIZE)
    theirs = torch.tensor([
        TorchvisionErasing.get_params(image, (0.02, 0.33), (0.3, 3.3), [0.0])[:4] for _ in range(N)
    ]).float()  # fmt: skip
    height, width = sides(box_N4)
    assert (box_N4 >= 0).all()
    assert (box_N4[:, 2:] <= SIZE).all()
    for ours, other in ((box_N4[:, 0], theirs[:, 0]), (box_N4[:, 1], theirs[:, 1]), (height, theirs[:, 2]),
                        (width, theirs[:, 3]), (height * width, theirs[:, 2] * theirs[:, 3])):  # fmt: skip
        assert stats.ks_2samp(ours.numpy(), other.numpy()).pvalue > 0.001


def test_what_never_fits_erases_nothing():
    height, width = sides(boxes(RandomErasing(p=1.0, scale=(1.0, 1.0), ratio=(1.0, 1.0)), 20, SIZE, rng()))
    assert (height == 0).all()
    assert (width == 0).all()


def test_boxes_are_drawn_for_all_images_and_taken_by_rows():
    geometry = Geometry(torch.full((6, 2), 40.0), torch.eye(3).expand(6, 3, 3))
    draws = draw((Cutout(size=6), RandomErasing(p=1.0)), geometry, SIZE, rng())
    assert [box_N4.shape for box_N4 in draws.erased_N4] == [(6, 4), (6, 4)]
    some = draws.take(torch.tensor([4, 1]))
    assert all(torch.equal(a, b[[4, 1]]) for a, b in zip(some.erased_N4, draws.erased_N4, strict=True))


def test_wrong_settings_are_named():
    for kind, wrong, field in (
        (Cutout, {"size": 0}, "size"),
        (Cutout, {"size": 4, "p": 2.0}, "p"),
        (RandomErasing, {"scale": (0.0, 0.5)}, "scale"),
        (RandomErasing, {"ratio": (2.0, 1.0)}, "ratio"),
    ):
        with pytest.raises(FieldProblems) as caught:
            kind(**wrong)
        assert [problem.field for problem in caught.value.problems] == [field]
