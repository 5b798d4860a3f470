import pytest
import torch

from transferlab.core.models.backbones import small


@pytest.mark.parametrize("size", [16, 33, 224])
def test_the_convnet_takes_square_images_of_any_size(size):
    net = small.build("convnet", 3, size)
    assert net(torch.rand(2, 3, size, size)).shape == (2, 3)


def test_the_convnet_has_the_layers_it_says():
    shapes = {name: tuple(p.shape) for name, p in small.build("convnet", 2, 224).named_parameters() if p.dim() > 1}
    assert shapes == {
        "features.0.weight": (4, 3, 5, 5),
        "features.3.weight": (8, 4, 5, 5),
        "hidden.0.weight": (512, 8 * 56 * 56),
        "head.weight": (2, 512),
    }


def test_the_small_resnet_does_not_shrink_its_first_maps():
    net, seen = small.build("resnet18_32px", 10, 32), []
    net.layer1.register_forward_hook(lambda *args: seen.append(args[2].shape))
    assert net(torch.rand(1, 3, 32, 32)).shape == (1, 10)
    assert seen == [(1, 64, 32, 32)]


@pytest.mark.parametrize("size", [32, 64])
def test_the_resnet9_has_pages_parameters(size):
    net = small.build("resnet9_32px", 10, size)
    assert net(torch.rand(2, 3, size, size)).shape == (2, 10)
    convolutions = 9 * (3 * 64 + 64 * 128 + 2 * 128**2 + 128 * 256 + 256 * 512 + 2 * 512**2)
    norms = 2 * (64 + 3 * 128 + 256 + 3 * 512)
    assert sum(parameter.numel() for parameter in net.parameters()) == convolutions + norms + 512 * 10 + 10


@pytest.mark.parametrize("size", [32, 96, 224])
def test_the_small_resnet_to_start_with_has_a_head_of_one_size(size):
    net = small.build("small_resnet", 3, size)
    assert net(torch.rand(2, 3, size, size)).shape == (2, 3)
    assert net.fc.weight.shape == (3, 256)
    assert 1.1e6 < sum(parameter.numel() for parameter in net.parameters()) < 1.3e6


def test_they_have_no_weights():
    assert small.preset("convnet", None).size == 224
    assert small.preset("resnet18_32px", None).resize == 32
    with pytest.raises(ValueError, match="no weights"):
        small.preset("convnet", "DEFAULT")
    with pytest.raises(ValueError, match="no weights"):
        small.tensors("convnet", "DEFAULT", 224)
