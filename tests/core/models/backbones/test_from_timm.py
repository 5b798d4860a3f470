import pytest
import timm
import torch
from huggingface_hub import constants

from transferlab.core.models.backbones import from_timm, registry
from transferlab.core.models.backbones.weights import WeightsError


@pytest.mark.parametrize(
    "full", ["tf_efficientnet_lite0.in1k", "vit_tiny_patch16_224.augreg_in21k", "resnet18.a1_in1k"]
)
def test_the_preset_is_that_of_the_tag(full):
    name, _, tag = full.partition(".")
    config = timm.data.resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(full).to_dict())
    preset = from_timm.preset(name, tag)
    assert preset.size == config["input_size"][-1]
    transform = timm.data.create_transform(**config)
    assert preset.resize == transform.transforms[0].size
    assert (preset.interpolation, preset.mean, preset.std) == (config["interpolation"], config["mean"], config["std"])


@pytest.mark.parametrize("size", [96, 224])
def test_networks_with_fixed_positions_are_made_for_the_size(size):
    net = from_timm.build("vit_tiny_patch16_224", 3, size)
    assert net.eval()(torch.rand(1, 3, size, size)).shape == (1, 3)


def test_both_heads_of_a_distilled_network_are_new_and_the_rest_is_not():
    name = "timm/deit_tiny_distilled_patch16_224"
    net = registry.build(name, 3, 224)
    assert registry.heads(name, 224) == ("head", "head_dist")
    assert net.head.out_features == net.head_dist.out_features == 3


def test_without_a_network_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        from_timm.tensors("test_resnet", "r160_in1k", 160)
    message = str(caught.value)
    assert "timm/test_resnet.r160_in1k could not be fetched from timm/test_resnet.r160_in1k" in message
    assert "Without internet, fetch that file elsewhere and give its path as model.weights." in message
