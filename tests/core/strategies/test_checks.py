import dataclasses

import pytest
import torch
from tiny import stage, strategy

from transferlab.core.models.backbones.model import Model
from transferlab.core.models.freezing import LayerDecay
from transferlab.core.strategies import checks
from transferlab.core.strategies.strategy import Strategy
from transferlab.core.transforms.input import Input
from transferlab.core.transforms.operations import RandomCrop, RandomFlip, RandomResizedCrop, Squash
from transferlab.core.validation import FieldProblems


def resnet18(**stages):
    return Strategy(model=Model(name="torchvision/resnet18"), stages=stages)


def problems(config):
    with pytest.raises(FieldProblems) as caught:
        checks.check(config)
    return {problem.field: (problem.value, problem.message) for problem in caught.value.problems}


def test_a_network_that_fits_passes():
    checks.check(strategy(head=stage(trainable="head"), tune=stage()))


def test_a_crop_must_fill_what_the_network_sees():
    crop = RandomResizedCrop(size=20)
    tune = {"flipped": (RandomFlip(), crop), "padded": (crop, RandomCrop(padding=6)), "squashed": (crop, Squash())}
    found = problems(strategy(**{name: stage(augmentation=operations) for name, operations in tune.items()}))
    field = "stages.flipped.augmentation.1.size"
    assert found == {field: (20, "must be at least 32, the px that the network sees, or null for just that")}
    checks.check(strategy(small=stage(augmentation=(RandomResizedCrop(size=40),), size=40)))


def test_everything_that_does_not_fit_is_told_at_once():
    typo = (("layre4.*", 1.0), (".*", None))
    found = problems(strategy(one=stage(trainable=typo), two=stage(trainable=(("fc.*", 1.0),))))
    assert found.keys() == {"stages.one.trainable", "stages.two.trainable"}
    assert found["stages.one.trainable"][0] == typo
    assert "'layre4.*' matches no parameter" in found["stages.one.trainable"][1]
    assert "no row covers" in found["stages.two.trainable"][1]


@pytest.mark.parametrize(
    ("name", "size"), [("torchvision/vit_b_16", 100), ("torchvision/inception_v3", 32), ("torchvision/maxvit_t", 100)]
)
def test_a_size_that_the_network_refuses_is_told(name, size):
    config = dataclasses.replace(strategy(), model=Model(name=name), input=Input(size=size))
    value, message = problems(config)["input.size"]
    assert value == size
    assert message.startswith(f"{name} refuses images of this size: ")


def at_size(name, tag, size):
    return dataclasses.replace(strategy(), model=Model(name=name, weights=tag), input=Input(size=size, resize=size))


@pytest.mark.parametrize(("name", "tag"), [("cait_xxs24_224", "fb_dist_in1k"), ("mixer_b16_224", "goog_in21k")])
def test_named_weights_that_cannot_be_resampled_are_told_before_they_are_fetched(name, tag):
    advice = f"the weights {tag} are for 224 px, and timm/{name} cannot resample them: set it to 224"
    assert problems(at_size(f"timm/{name}", tag, 192)) == {"input.size": (192, advice)}


@pytest.mark.parametrize(("name", "tag"), [("vit_tiny_patch16_224", "augreg_in21k"), ("resnet18", "a1_in1k")])
def test_named_weights_that_can_be_resampled_pass(name, tag):
    checks.check(at_size(f"timm/{name}", tag, 160))


def test_a_resize_below_the_networks_size_is_told():
    config = dataclasses.replace(resnet18(tune=stage()), input=Input(resize=200))
    assert problems(config) == {"input.resize": (200, "must be at least the network's input size, 224 px")}


def test_an_encoder_without_a_classifier_is_told_before_any_work():
    config = dataclasses.replace(strategy(tune=stage()), model=Model(name="timm/mobilenetv5_300m_enc"), input=Input())
    assert problems(config) == {
        "model.name": ("timm/mobilenetv5_300m_enc", "has no classifier that could be trained for other classes")
    }


def test_a_weights_file_that_does_not_fit_is_told_before_any_work(tmp_path):
    torch.save({"a.weight": torch.zeros(2)}, tmp_path / "w.pth")
    model = Model(name="timm/test_resnet", weights=str(tmp_path / "w.pth"))
    config = dataclasses.replace(strategy(tune=stage(trainable=(("fcc.*", 1.0), (".*", None)))), model=model)
    found = problems(config)
    assert found.keys() == {"model.weights", "stages.tune.trainable"}
    assert "does not fit the network: it lacks conv1.0.weight" in found["model.weights"][1]


@pytest.mark.parametrize(
    ("name", "rate"), [("torchvision/resnet18", 0.1), ("torchvision/resnet18", 0.0), ("transferlab/small_resnet", 0.1)]
)
def test_a_network_without_residual_branches_to_leave_out_is_told(name, rate):
    config = dataclasses.replace(strategy(), model=Model(name=name, drop_path=rate))
    assert problems(config).keys() == {"model.drop_path"}


@pytest.mark.parametrize("name", ["timm/resnet18", "torchvision/convnext_tiny"])
def test_residual_branches_of_either_library_can_be_left_out(name):
    checks.check(dataclasses.replace(strategy(), model=Model(name=name, drop_path=0.1)))


def test_a_layer_decay_whose_rows_do_not_fit_is_told():
    typo = LayerDecay(layer_decay=0.5, rows=(("layre4.*", 1.0), (".*", None)))
    assert "matches no parameter" in problems(strategy(tune=stage(trainable=typo)))["stages.tune.trainable"][1]
