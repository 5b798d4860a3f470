"""What the published recipes ask for beyond the common: squashed held-out images, and an optimizer that is kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import VIEW, machine, spec_of, split_of, stage, strategy
from torchvision.transforms import functional

from transferlab.core.models import factory
from transferlab.core.strategies import optimizers
from transferlab.core.strategies.optimizers import SGD, Adam
from transferlab.core.training.trial import train_trial
from transferlab.core.transforms import operations
from transferlab.core.transforms.input import Input
from transferlab.core.transforms.pixels import HostImages
from transferlab.core.validation import FieldProblems


def seen(image_HWC, operations=(), **changes):
    """What the network sees of one image, uint8 (S, S, 3)."""
    view = replace(VIEW, **{"size": 32, "resize": 32, **changes})
    draws = view.draw(np.array([image_HWC.shape[:2]]), operations, None)
    return (view.pixels(HostImages([image_HWC], torch.device("cpu")), draws)[0] * 255).round().permute(1, 2, 0).numpy()


def smooth(height, width):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x / width, 255 * y / height, 127 + 0 * x], axis=-1).astype(np.uint8)


def test_squashed_held_out_images_show_all_of_the_photograph():
    image_HWC = smooth(32, 48)
    ours = seen(image_HWC, held_out="squash")
    theirs = np.asarray(functional.resize(Image.fromarray(image_HWC), [32, 32]), dtype=float)
    assert np.abs(ours - theirs).max() <= 2
    crop = seen(image_HWC)
    assert np.array_equal(crop, image_HWC[:, 8:40])
    # Only held-out images: training crops as the stage says.
    corner = operations.RandomCrop()
    assert np.array_equal(seen(image_HWC, (corner,), held_out="squash"), seen(image_HWC, (corner,)))


def two_stages(second):
    return strategy(head=stage(trainable="head", optimizer=SGD(lr=0.05)), tune=second)


def test_a_stage_begins_with_a_fresh_optimizer_unless_it_is_kept(monkeypatch, tmp_path):
    carried = []
    plain = optimizers.carry_over

    def look(before, after):
        plain(before, after)
        carried.append(sum(bool(state["momentum_buffer"].any()) for state in after.state.values()))

    monkeypatch.setattr(optimizers, "carry_over", look)
    train = split_of(tmp_path / "store", 8)
    for keep in (False, True):
        plan = two_stages(stage(optimizer=SGD(lr=0.01), keep_optimizer=keep))
        train_trial(spec_of(plan, train), tmp_path / "features", lambda _: None)
    assert carried == [2]  # once, and the head's weight and bias alone have moved


def test_kept_moments_change_the_first_step(tmp_path):
    train = split_of(tmp_path / "store", 8)
    losses = []
    for keep in (False, True):
        plan = two_stages(stage(optimizer=SGD(lr=0.01), keep_optimizer=keep))
        steps = train_trial(spec_of(plan, train), tmp_path / "features", lambda _: None).steps
        losses.append([row.loss for row in steps if row.stage == "tune"])
    assert losses[0][0] == losses[1][0]
    assert losses[0][1:] != losses[1][1:]


@pytest.mark.parametrize("optimizer", [Adam(name="adam", lr=1e-3), Adam(name="adamw", lr=1e-3)])
def test_only_the_same_kind_can_be_kept(optimizer):
    with pytest.raises(FieldProblems, match="same optimizer"):
        two_stages(stage(optimizer=optimizer, keep_optimizer=True))
    with pytest.raises(FieldProblems, match=r"stages\.head\.keep_optimizer"):
        strategy(head=stage(keep_optimizer=True))
    two_stages(stage(optimizer=SGD(lr=1.0), keep_optimizer=True))


def test_the_head_begins_small_enough_for_published_rates():
    # timm draws EfficientNet's heads with 1 / sqrt(classes), whatever the features: 0.7 for two classes.
    config = replace(strategy("timm/tf_efficientnet_lite0"), input=Input(size=32, resize=32))
    first = factory.initial(config.model, config.input, ["ant", "bee"], {"mean": [0.5] * 3, "std": [0.5] * 3}, seed=0)
    second = factory.fresh(first, 0, machine()).state_dict()
    weight_KF = first.tensors["classifier.weight"]
    assert weight_KF.abs().max() <= weight_KF.shape[1] ** -0.5
    assert torch.equal(weight_KF, second["classifier.weight"])
