"""Heads on the pooled outputs of several stages."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import STATISTICS, machine, stage, strategy
from torch import nn

from transferlab.core.models import factory, freezing, prefix
from transferlab.core.models.backbones import pooled, registry
from transferlab.core.models.backbones.model import Model, Pooled, described
from transferlab.core.models.backbones.pooled import OnStages, Standardize, Tap
from transferlab.core.models.checkpoint import Checkpoint, CheckpointError
from transferlab.core.strategies import checks
from transferlab.core.validation import FieldProblems

MAPS, LAST = 1, 3  # the axis of channels

# The last stages of some families at 224 px.
STAGES = {
    "timm/tf_efficientnet_lite0": [Tap(f"blocks.{n}", MAPS, c) for n, c in ((3, 80), (4, 112), (5, 192), (6, 320))],
    "timm/vit_tiny_patch16_224": [Tap(f"blocks.{n}", 2, 192) for n in (8, 9, 10, 11)],
    "timm/swin_tiny_patch4_window7_224": [Tap(f"layers.{n}", LAST, 96 * 2**n) for n in range(4)],
    "timm/convnext_atto": [Tap(f"stages.{n}", MAPS, 40 * 2**n) for n in range(4)],
    "torchvision/resnet18": [Tap(f"layer{n}", MAPS, 32 * 2**n) for n in (1, 2, 3, 4)],
    "torchvision/regnet_y_400mf": [
        Tap(f"trunk_output.block{n}", MAPS, c) for n, c in ((1, 48), (2, 104), (3, 208), (4, 440))
    ],
    "torchvision/shufflenet_v2_x0_5": [
        Tap(name, MAPS, c) for name, c in (("stage2", 48), ("stage3", 96), ("stage4", 192), ("conv5", 1024))
    ],
}


@pytest.mark.parametrize("name", STAGES)
def test_the_last_stages_of_a_family_are_found_and_its_head_is_given_them(name):
    assert list(registry.taps(name, 224, 4)) == STAGES[name]
    network = registry.skeleton(name, 5, 224, pooled=Pooled())
    assert registry.heads(name, 224, Pooled()) == ("head",)
    assert network.head.in_features == 2 * sum(tap.channels for tap in STAGES[name])
    assert network.eval()(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 5)
    checks.check(replace(strategy(head=stage(trainable="head")), model=Model(name=name, pooled=Pooled())))


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("torchvision/vgg11", 1, "torchvision/vgg11 has no stages that can be found"),
        ("torchvision/resnet18", 5, "has only 4 stages (layer1, layer2, layer3, layer4)"),
        ("timm/hrnet_w18_small", 1, "makes list in its stage stage4, which is neither maps nor tokens"),
    ],
)
def test_stages_that_are_not_there_are_told_before_any_work(name, count, message):
    config = replace(strategy(), model=Model(name=name, pooled=Pooled(stages=count)))
    with pytest.raises(FieldProblems) as caught:
        checks.check(config)
    (problem,) = caught.value.problems
    assert (problem.field, problem.value) == ("model.pooled.stages", count)
    assert message in problem.message


def test_a_number_of_stages_is_checked_and_the_pretrained_classifier_has_no_such_head():
    with pytest.raises(FieldProblems, match=r"stages.*must be from 1"):
        Pooled(stages=0)
    model = Model(name="timm/test_resnet", weights="a.pth", pooled=Pooled())
    with pytest.raises(FieldProblems, match=r"model\.pooled gives the head others"):
        replace(strategy(), model=model, head="classifier")


class Stage(nn.Module):
    """A stage that gives its input in another layout."""

    def __init__(self, order):
        super().__init__()
        self.order, self.layer = order, nn.Linear(1, 1)

    def forward(self, x):
        return x.permute(self.order) if len(self.order) == x.ndim else x.flatten(2).permute(self.order)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (0, 2, 1)], ids=["maps", "channels_last", "tokens"])
def test_means_and_deviations_are_over_space_in_each_layout(order):
    network = nn.ModuleDict({"stage1": Stage(order), "stage2": Stage(order)})
    network.forward = lambda x: [part(x) for part in network.values()]
    x_BCHW = torch.rand(4, 5, 6, 6)
    taps = pooled.last_stages(network, x_BCHW, 1)
    assert [(tap.stage, tap.channels) for tap in taps] == [("stage2", 5)]
    found_BF = pooled.PooledStages(network, taps, Pooled())(x_BCHW).numpy()
    x_BCN = x_BCHW.flatten(2).numpy()
    expected = np.concatenate([x_BCN.mean(axis=2), x_BCN.std(axis=2)], axis=1)
    np.testing.assert_allclose(found_BF, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("flips", "axes"), [("horizontal", [(), (3,)]), ("half_turn", [(), (2, 3)]), ("all", [(), (3,), (2,), (2, 3)])]
)
def test_flips_are_averaged_so_that_a_flipped_image_is_the_same(flips, axes):
    network = registry.build("timm/test_resnet", 2, 32).eval()
    taps = pooled.last_stages(network, torch.rand(1, 3, 32, 32), 2)
    x_BCHW = torch.rand(3, 3, 32, 32)
    with torch.inference_mode():
        plain = pooled.PooledStages(network, taps, Pooled(stages=2))
        flipped = pooled.PooledStages(network, taps, Pooled(stages=2, flips=flips))
        expected = torch.stack([plain(x_BCHW.flip(each)) for each in axes]).mean(dim=0)
        assert not torch.equal(plain(x_BCHW), expected)
        for each in axes:
            assert torch.allclose(flipped(x_BCHW.flip(each)), expected, atol=1e-5)


def test_features_are_standardized_by_those_of_some_images_and_constant_ones_are_zero():
    x_NF = torch.randn(50, 3) * torch.tensor([5.0, 0.1, 0.0]) + torch.tensor([100.0, -2.0, 7.0])
    module = Standardize(3)
    assert torch.equal(module(x_NF), x_NF), "before"
    module.fit(torch.split(x_NF, 16))
    found_NF = module(x_NF)
    assert found_NF.mean(dim=0).abs().max() < 1e-4
    assert found_NF.std(dim=0, correction=0).numpy() == pytest.approx([1.0, 1.0, 0.0], abs=1e-3)


def test_pretrained_tensors_are_those_of_the_whole_network(tmp_path):
    torch.manual_seed(0)
    whole = registry.build("timm/test_resnet", 7, 32).eval()
    save_file(whole.state_dict(), tmp_path / "resnet.safetensors")
    model = Model(name="timm/test_resnet", weights=str(tmp_path / "resnet.safetensors"), pooled=Pooled(stages=2))
    checks.check(replace(strategy(), model=model))
    begun = factory.initial(model, strategy().input, ["red", "blue"], STATISTICS, 0)
    network = factory.load(begun, machine())
    assert isinstance(network, OnStages)
    x_B3SS = torch.rand(2, 3, 32, 32)
    with torch.inference_mode(), pooled._outputs(whole, ["layer4"]) as found:
        whole(x_B3SS)
        features_BF = network.pooled(x_B3SS)
    channels = found["layer4"].shape[1]
    assert torch.allclose(features_BF[:, -2 * channels : -channels], found["layer4"].mean(dim=(2, 3)), atol=1e-6)
    assert not any(name.startswith("head.") or "fc." in name for name in begun.header.pretrained)


def test_a_file_says_what_its_head_is_given():
    model = Model(name="timm/test_resnet", pooled=Pooled(stages=3, deviations=False, flips="all"))
    begun = factory.initial(model, strategy().input, ["red", "blue"], STATISTICS, 0)
    assert begun.header.pooled == model.pooled
    assert begun.header.from_json(begun.header.to_json()) == begun.header
    assert described(model.name, model.pooled) == "timm/test_resnet with the means of 3 stages, flips: all"
    other = Checkpoint(begun.tensors, replace(begun.header, pooled=Pooled(stages=2)))
    with pytest.raises(CheckpointError, match="with the means and deviations of 2 stages"):
        factory.load(other, machine())


@pytest.mark.parametrize("flips", [None, "half_turn"])
@pytest.mark.parametrize(
    ("rows", "node"),
    [
        ([[r".*layer[34]\..*|head\..*", 1.0], [".*", None]], "pooled_network_layer2"),
        ([[r".*layer4\..*|head\..*", 1.0], [".*", None]], "pooled_network_layer3_0"),  # a stage that is pooled
        ([[r".*bn\d\..*", None], [r".*layer[34]\..*|head\..*", 1.0], [".*", None]], "pooled_network_layer2"),
    ],
)
def test_stages_that_are_trained_run_on_the_features_of_those_before(rows, node, flips):
    network = registry.build("timm/test_resnet", 2, 32, pooled=Pooled(stages=2, flips=flips))
    freezing.apply(network, rows, ("head",))
    x_BCHW = torch.rand(4, 3, 32, 32)
    at = prefix.cut(network, x_BCHW[:1])
    if flips:  # a batch of the network is not one of images: it runs whole
        assert at is None
        return
    assert at.node == node
    with torch.inference_mode():
        assert torch.allclose(at.tail.eval()(at.prefix.eval()(x_BCHW)), network.eval()(x_BCHW), atol=1e-5)
