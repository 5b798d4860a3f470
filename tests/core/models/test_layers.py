import pytest
import torch
from tiny import normed_net

from transferlab.core.models import freezing
from transferlab.core.models.backbones import registry
from transferlab.core.models.forward import inputs_of, per_image
from transferlab.core.models.freezing import LayerDecay
from transferlab.core.models.layers import layer_numbers, telling
from transferlab.core.validation import FieldProblems

# The number of layers, and the layer of some parameters.
NETWORKS = {
    "timm/resnet18": (
        10,
        {"conv1.weight": 0, "bn1.weight": 0, "layer1.0.conv1.weight": 1, "layer4.1.bn2.bias": 8, "fc.bias": 9},
    ),
    "torchvision/resnet18": (
        10,
        {"conv1.weight": 0, "bn1.weight": 0, "layer1.0.conv1.weight": 1, "layer4.1.bn2.bias": 8},
    ),
    "transferlab/resnet18_32px": (10, {"layer2.0.downsample.0.weight": 3, "fc.weight": 9}),
    "transferlab/convnet": (4, {"features.0.weight": 0, "features.3.bias": 1, "hidden.0.weight": 2, "head.weight": 3}),
    "transferlab/small_resnet": (6, {"bn1.weight": 0, "layer4.conv2.weight": 4, "fc.weight": 5}),
    "torchvision/densenet121": (63, {"features.norm0.weight": 0, "features.denseblock1.denselayer2.conv2.weight": 2}),
    "torchvision/vit_b_16": (16, {"class_token": 0, "encoder.ln.weight": 14, "heads.head.weight": 15}),
    "torchvision/efficientnet_b0": (
        19,
        {"features.0.1.weight": 0, "features.2.1.block.0.0.weight": 3, "classifier.1.bias": 18},
    ),
    "timm/vit_tiny_patch16_224": (
        14,
        {"pos_embed": 0, "blocks.0.norm1.weight": 1, "norm.weight": 12, "head.weight": 13},
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_are_numbered_from_the_input_to_the_head(name):
    size = 64 if name == "transferlab/convnet" else 224
    network, head = registry.skeleton(name, 2, size), registry.heads(name, size)
    numbers = layer_numbers(network, head)
    count, some = NETWORKS[name]
    assert list(numbers) == [parameter for parameter, _ in network.named_parameters()]
    assert {parameter: numbers[parameter] for parameter in some} == some
    assert sorted(set(numbers.values())) == list(range(count))
    assert {numbers[p] for p in numbers if registry.in_head(p, head)} == {count - 1}


def test_rates_fall_towards_the_input():
    network = registry.skeleton("torchvision/resnet18", 2, 64)
    scales = freezing.scales(LayerDecay(layer_decay=0.5), network, ("fc",))
    assert scales["fc.weight"] == 1
    assert scales["layer4.1.conv1.weight"] == 0.5
    assert scales["conv1.weight"] == 0.5**9
    assert len(scales) == len(list(network.parameters()))


def test_rows_freeze_and_scale_below_the_decay():
    network = registry.skeleton("torchvision/resnet18", 2, 64)
    rows = ((r".*(bn\d|downsample\.1)\..*", None), (r"fc\..*", 10.0), (".*", 1.0))
    scales = freezing.scales(LayerDecay(layer_decay=0.5, rows=rows), network, ("fc",))
    assert "bn1.weight" not in scales
    assert scales["fc.weight"] == 10
    assert scales["layer4.1.conv1.weight"] == 0.5


def test_the_policy_of_a_recipe_is_read_again():
    for policy in ("head", (("head.*", 0.5), (".*", None)), LayerDecay(layer_decay=0.75, rows=(("a", 1.0),))):
        value = {"layer_decay": 0.75, "rows": [["a", 1.0]]} if isinstance(policy, LayerDecay) else policy
        assert freezing.from_json([list(row) for row in value] if isinstance(value, tuple) else value) == policy


def test_applied_to_a_network_it_trains_all():
    net = normed_net()
    assert len(freezing.apply(net, LayerDecay(layer_decay=0.9), ("head",))) == len(list(net.parameters()))


@pytest.mark.parametrize(
    "changes", [{"layer_decay": 0.0}, {"layer_decay": 1.5}, {"layer_decay": 0.5, "rows": (("(", 1.0),)}]
)
def test_impossible_decays_are_refused(changes):
    with pytest.raises(FieldProblems):
        LayerDecay(**changes)


@pytest.mark.parametrize(
    ("name", "trained", "expected"),
    [
        ("timm/tf_efficientnet_lite0", "", {"blocks.3.2.conv_pw": 80, "classifier": 1280}),
        ("timm/tf_efficientnet_lite0", "blocks.6", {"blocks.6.0.conv_pw": 192, "classifier": 1280}),
        ("timm/tf_efficientnet_lite0", "classifier", {"classifier": 1280}),
        ("timm/vit_tiny_patch16_224", "", {"blocks.5.norm1": 192, "head": 192}),
        ("timm/convnext_atto", "stages.2", {"stages.2.blocks.1.conv_dw": 160, "head.fc": 320}),
    ],
)
def test_a_layer_in_the_middle_and_the_head_tell_familiar_images(name, trained, expected):
    size = 224 if "vit" in name else 64
    network, head = registry.build(name, 2, size), registry.heads(name, size)
    for parameter, tensor in network.named_parameters():
        tensor.requires_grad_(parameter.startswith(trained))
    found = telling(network, head)
    assert found == tuple(expected)
    with inputs_of(network, found) as gathered, torch.inference_mode():
        network.eval()(torch.zeros(2, 3, size, size))
    assert [features_NF.shape for features_NF in per_image(gathered, 2)] == [(2, width) for width in expected.values()]


def test_a_layer_that_does_not_run_once_per_image_tells_nothing():
    network = torch.nn.ModuleDict(
        {"never": torch.nn.Linear(3, 3), "twice": torch.nn.Linear(3, 3), "once": torch.nn.ReLU()}
    )
    x = torch.arange(6.0).reshape(2, 3)
    with inputs_of(network, ["never", "twice", "once"]) as gathered:
        network["once"](network["twice"](network["twice"](x)) * 0)
    (features_NF,) = per_image(gathered, 2)
    assert features_NF.shape == (2, 3)
    assert not features_NF.any()


def test_features_are_averages_over_space_and_sequence():
    norm = torch.nn.LayerNorm(3)
    x_BF = torch.arange(6.0).reshape(2, 3)
    with inputs_of(norm, [""]) as (gathered,):
        norm(x_BF)
        norm(x_BF[:, None].expand(2, 5, 3))
        norm(x_BF[:, None, None].expand(2, 4, 5, 3))
    assert len(gathered) == 3
    assert all(torch.equal(features_BF, x_BF) for features_BF in gathered)
