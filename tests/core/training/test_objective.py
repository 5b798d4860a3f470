import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from transferlab.core.training.objective import ClassWeightsError, Objective, check_classes, class_weights

CLASSES = ("functional", "defective", "unseen")
LABELS = torch.tensor([0] * 15 + [1] * 5)
RNG = torch.Generator().manual_seed(0)
LOGITS = torch.randn(20, 3, generator=RNG)


def test_balanced_weights_are_scikit_learns():
    weights_K = class_weights("balanced", LABELS, CLASSES)
    expected = compute_class_weight("balanced", classes=np.arange(2), y=LABELS.numpy())
    assert weights_K[:2].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("asked", ["balanced", {"defective": 3.0}, {"defective": 6, "functional": 2, "unseen": 2}])
def test_weights_have_a_mean_of_one_over_the_training_images(asked):
    weights_K = class_weights(asked, LABELS, CLASSES)
    assert float(weights_K[LABELS].mean()) == pytest.approx(1)
    assert float(weights_K[1] / weights_K[0]) == pytest.approx(3)


def test_a_name_that_is_no_class_is_told():
    with pytest.raises(ClassWeightsError, match=r"stages\.tune\.class_weights\.defectiv.*did you mean 'defective'"):
        check_classes({"defectiv": 2.0}, CLASSES, "tune")
    check_classes({"defective": 2.0}, CLASSES, "tune")
    check_classes("balanced", CLASSES, "tune")


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_plain_objective_is_torchs_cross_entropy(smoothing):
    expected = functional.cross_entropy(LOGITS, LABELS, label_smoothing=smoothing)
    assert torch.allclose(Objective(smoothing)(LOGITS, LABELS), expected[None])


def test_parts_of_a_batch_add_up_whatever_their_weights():
    objective = Objective(0.1, class_weights("balanced", LABELS, CLASSES))
    parts = [objective(LOGITS[i : i + 5], LABELS[i : i + 5]) / 4 for i in range(0, 20, 5)]
    assert torch.allclose(sum(parts), objective(LOGITS, LABELS))


def test_trials_are_weighted_each_for_itself():
    objective = Objective(0.0, class_weights("balanced", LABELS, CLASSES))
    both = objective(torch.stack([LOGITS, -LOGITS]), torch.stack([LABELS, LABELS.flip(0)]))
    alone = torch.cat([objective(LOGITS, LABELS), objective(-LOGITS, LABELS.flip(0))])
    assert torch.allclose(both, alone)


def test_a_mixed_image_has_a_part_of_both_losses():
    share, other = torch.rand(20, generator=RNG), LABELS.roll(7)
    targets = share[:, None] * torch.eye(3)[LABELS] + (1 - share[:, None]) * torch.eye(3)[other]
    mixed = Objective()(LOGITS, torch.stack([LABELS, other]), share)
    assert torch.allclose(mixed, functional.cross_entropy(LOGITS, targets)[None])
