"""What training is estimated by: passes of frozen layers once per view, and steps of what is trained."""

import pytest
from tiny import FLIP_AND_CROP, stage, strategy

from transferlab.core.models.backbones.model import Model, Pooled
from transferlab.core.training.estimate import Work, seconds, work_of

LATE = ((r"(conv1|bn1|layer[12])\..*", None), (".*", 1.0))
IMAGES, TRIALS = 10, 3


def work(**stages):
    return work_of(strategy(**stages), 32, IMAGES, TRIALS)


def test_a_head_costs_the_passes_of_its_views_once_or_of_every_epoch():
    kept = work(head=stage(epochs=5, trainable="head", augmentation=FLIP_AND_CROP, views=4))
    assert (kept.passes, kept.trained, kept.tuned) == (40, 0, ())
    fresh = work(head=stage(epochs=5, trainable="head", augmentation=FLIP_AND_CROP))
    assert (fresh.passes, fresh.trained, fresh.tuned) == (150, 0, ())


def test_late_layers_cost_the_passes_before_them_once_and_their_own_steps():
    kept = work(
        head=stage(epochs=5, trainable="head", augmentation=FLIP_AND_CROP, views=4),
        tune=stage(epochs=2, trainable=LATE, augmentation=FLIP_AND_CROP, views=8),
    )
    assert (kept.passes, kept.trained, kept.tuned) == (120, 0, ((LATE, 60),))
    fresh = work(tune=stage(epochs=2, trainable=LATE, augmentation=FLIP_AND_CROP))
    assert (fresh.passes, fresh.trained, fresh.tuned) == (0, 60, ())


@pytest.mark.parametrize("pooled", [None, Pooled(stages=2)])
def test_steps_of_each_kind_are_measured(pooled):
    late = ((r"(.*\.)?(conv1|bn1|layer[12])\..*", None), (".*", 1.0))
    for passes, trained, tuned in ((8, 0, ()), (0, 8, ()), (0, 0, ((late, 8),))):
        assert seconds(Work("torchvision/resnet18", 32, passes, trained, tuned, pooled), 2) > 0
    assert seconds(Work("torchvision/resnet18", 32, 0, 0), 2) == 0


def test_what_the_head_is_given_counts():
    pooled = Pooled(flips="half_turn")
    model = Model(name="torchvision/resnet18", pooled=pooled)
    plan = strategy(head=stage(trainable="head"))
    assert work_of(plan, 32, 1, 1).pooled is None
    assert work_of(type(plan)(model=model, stages=plan.stages), 32, 1, 1).pooled == pooled
