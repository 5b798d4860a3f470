import pytest
import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from transferlab.core.models.folding import folded

X = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def randomised(network):
    """With statistics and weights that differ from a new BatchNorm's, in evaluation mode."""
    torch.manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
    return network.eval()


def norms(network):
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(
    ("name", "left"), [("efficientnet_lite0", 0), ("test_resnet", 0), ("mobilenetv3_small_050", 0), ("densenet121", 62)]
)
def test_batch_norm_is_folded_and_the_outputs_stay(name, left):
    network = randomised(timm.create_model(name))
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with torch.inference_mode():
        expected = network(X)
        result = folded(network, X)
        assert (result(X) - expected).abs().max() < 1e-4 * expected.std()
    assert norms(result) == left
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


class Twice(nn.Module):
    """Uses what comes out of its convolution a second time, beside BatchNorm."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.convolution(x)
        return self.norm(x) + x


class Shared(nn.Module):
    """Runs one convolution before two layers of BatchNorm."""

    def __init__(self):
        super().__init__()
        self.convolution, self.one, self.other = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.one(self.convolution(x)) - self.other(self.convolution(x))


@pytest.mark.parametrize("kind", [Twice, Shared])
def test_what_cannot_be_folded_stays(kind):
    network = randomised(kind())
    result = folded(network, X)
    assert norms(result) == norms(network)
    with torch.inference_mode():
        assert torch.equal(result(X), network(X))


def test_a_batch_norm_without_statistics_of_its_own_stays():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    assert norms(folded(network, X)) == 1


def padded(network):
    """The convolutions that pad their input first."""
    return [module for module in network.modules() if isinstance(module, Conv2dSame)]


@pytest.mark.parametrize("size", [64, 63, 65, 94])
def test_same_padding_of_depthwise_convolutions_is_folded_for_images_of_one_size(size):
    network = randomised(timm.create_model("tf_efficientnet_lite0"))
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, result = network(x), folded(network, x[:1])
        assert (result(x) - expected).abs().max() < 1e-4 * expected.std()
    assert norms(result) == 0
    assert [one.groups for one in padded(result)] == [1]  # the stem, whose kernel is not depthwise
    assert len(padded(network)) == 5


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(9, 16), (16, 9), (1, 2)])
@pytest.mark.parametrize("kernel", [(3, 3), (5, 2), (1, 4)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_any_same_padding_stays_what_it_was(kernel, stride, dilation, height, width):
    torch.manual_seed(0)
    network = nn.Sequential(Conv2dSame(4, 4, kernel, stride=stride, dilation=dilation, groups=4, bias=False))
    x, state = torch.randn(3, 4, height, width), torch.random.get_rng_state()
    with torch.inference_mode():
        result = folded(network, x[:1])
        assert torch.allclose(result(x), network(x), atol=1e-6)
    assert len(padded(result)) == (0 if dilation == 1 else 1)
    assert torch.equal(torch.random.get_rng_state(), state)


class TwoSizes(nn.Module):
    """Has a convolution that sees inputs of two sizes, whose padding differs, and a BatchNorm elsewhere."""

    def __init__(self):
        super().__init__()
        self.convolution = Conv2dSame(3, 3, 3, stride=2, groups=3)
        self.last, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.last(self.convolution(self.convolution(x))))


class PaddedTwice(Twice):
    """Its BatchNorm cannot be folded, and its padding can."""

    def __init__(self):
        super().__init__()
        self.before = Conv2dSame(3, 3, 3, stride=2, groups=3)

    def forward(self, x):
        return super().forward(self.before(x))


@pytest.mark.parametrize(("kind", "left"), [(TwoSizes, (1, 0)), (PaddedTwice, (0, 1))])
def test_what_can_be_folded_is_folded_beside_what_cannot(kind, left):
    network, x = randomised(kind()), torch.randn(2, 3, 14, 14)
    result = folded(network, x)
    with torch.inference_mode():
        assert torch.allclose(result(x), network(x), atol=1e-5)
    assert (len(padded(result)), norms(result)) == left
