import pytest
import timm
import torch
from huggingface_hub import constants

from transferlab.core.models.backbones import from_timm, registry
from transferlab.core.models.backbones.model import Model
from transferlab.core.models.backbones.weights_file import WeightsError


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


@pytest.mark.parametrize("size", [96, 160, 224])
@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "test_vit3"])
def test_position_embeddings_of_a_file_are_resampled_as_timm_does(tmp_path, name, size):
    torch.manual_seed(0)
    tensors = timm.create_model(name, num_classes=7).state_dict()
    torch.save({"model": tensors}, tmp_path / "w.pth")
    model = Model(name=f"timm/{name}", weights=str(tmp_path / "w.pth"))
    found = registry.pretrained(model, registry.skeleton(model.name, 7, size), (), size)
    # timm's own way to load weights changes the dictionary that it is given.
    overlay = {"state_dict": dict(tensors), "num_classes": 7}
    theirs = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=7, img_size=size)
    assert found.keys() == theirs.state_dict().keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in theirs.state_dict().items())


def test_swin_windows_are_resampled(tmp_path):
    few = {"depths": (1, 1, 1, 1), "embed_dim": 8, "num_heads": (1, 1, 1, 1), "num_classes": 2}
    made = [timm.create_model("swin_tiny_patch4_window7_224", img_size=size, **few) for size in (224, 128)]
    original, smaller = (net.state_dict() for net in made)
    assert {n: t.shape for n, t in original.items()} != {n: t.shape for n, t in smaller.items()}
    adapted = from_timm.adapt(made[1], dict(original))
    assert {n: t.shape for n, t in adapted.items()} == {n: t.shape for n, t in smaller.items()}
