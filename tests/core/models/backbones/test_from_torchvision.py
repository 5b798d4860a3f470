import re
import urllib.error

import pytest
import torch
from torchvision import models

from transferlab.core.models.backbones import from_torchvision, registry
from transferlab.core.models.backbones.model import Model
from transferlab.core.models.backbones.weights_file import WeightsError


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of torch's hub, and no network."""

    def refuse(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def stored(hub, name, rename=lambda key: key):
    """A file in the cache as torchvision's own are: old names, no batch counters."""
    member = models.get_model_weights(name)["IMAGENET1K_V1"]
    torch.manual_seed(0)
    tensors = models.get_model(name).state_dict()
    old = {rename(key): tensor for key, tensor in tensors.items() if "num_batches_tracked" not in key}
    torch.save(old, hub / member.url.rpartition("/")[2])
    return tensors


def test_weights_without_batch_counters_are_taken(hub):
    tensors, model = stored(hub, "resnet18"), Model(name="torchvision/resnet18", weights="IMAGENET1K_V1")
    found = registry.pretrained(model, registry.build(model.name, 2, 224), ("fc",), 224)
    assert found.keys() == {n for n in tensors if "num_batches" not in n and not n.startswith("fc.")}
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in found.items())


def test_old_names_are_translated(hub):
    tensors = stored(hub, "densenet121", lambda key: re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key))
    model = Model(name="torchvision/densenet121", weights="IMAGENET1K_V1")
    found = registry.pretrained(model, registry.build(model.name, 2, 224), ("classifier",), 224)
    name = "features.denseblock1.denselayer1.conv1.weight"
    assert torch.equal(found[name], tensors[name])


def test_without_a_network_it_says_what_to_do(hub):
    with pytest.raises(WeightsError) as caught:
        from_torchvision.tensors("resnet18", "IMAGENET1K_V1", 224)
    message = str(caught.value)
    assert "torchvision/resnet18 IMAGENET1K_V1 could not be fetched from https://" in message
    assert "Without internet, fetch that file elsewhere and give its path as model.weights." in message


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "efficientnet_b0", "swin_t", "mobilenet_v3_small"])
def test_the_preset_is_the_weights_own_transform(name):
    preset = from_torchvision.preset(name, "IMAGENET1K_V1")
    transform = models.get_model_weights(name)["IMAGENET1K_V1"].transforms()
    assert [preset.size] == transform.crop_size
    assert [preset.resize] == transform.resize_size
    assert preset.interpolation == transform.interpolation.value
    assert [list(preset.mean), list(preset.std)] == [transform.mean, transform.std]


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_inceptions_get_the_input_that_torchvision_computes_inside(name):
    transform = models.get_model_weights(name)["IMAGENET1K_V1"].transforms()
    mean, std = (torch.tensor(values)[:, None, None] for values in (transform.mean, transform.std))
    theirs = models.get_model(name, init_weights=False, transform_input=True)
    x = torch.rand(1, 3, 4, 4)
    preset = from_torchvision.preset(name, "IMAGENET1K_V1")
    ours = (x - torch.tensor(preset.mean)[:, None, None]) / torch.tensor(preset.std)[:, None, None]
    assert torch.allclose(ours, theirs._transform_input((x - mean) / std), atol=1e-5)
    assert not from_torchvision.build(name, 2, 299).transform_input


def test_auxiliary_heads_are_left_out():
    assert from_torchvision.build("googlenet", 2, 224).train()(torch.rand(2, 3, 64, 64)).shape == (2, 2)


@pytest.mark.parametrize("size", [32, 48, 80])
def test_position_embeddings_of_a_vision_transformer_are_resampled(size):
    few = {"patch_size": 16, "num_layers": 1, "num_heads": 1, "hidden_dim": 8, "mlp_dim": 8}
    original, other = (models.VisionTransformer(image_size=s, **few) for s in (48, size))
    tensors = original.state_dict()
    positions = tensors["encoder.pos_embedding"].normal_().clone()
    adapted = from_torchvision.adapt(other, dict(tensors))
    other.load_state_dict(adapted)
    assert torch.equal(adapted["encoder.pos_embedding"][:, 0], positions[:, 0]), "the class token stays"
    if size == 48:
        assert torch.equal(adapted["encoder.pos_embedding"], positions)
