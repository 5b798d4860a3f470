"""The small networks that no library has: those of the published experiments, and one to start from scratch with."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.models.resnet import BasicBlock, conv1x1

from transferlab.core.transforms.input import Preset


class ConvNet(nn.Module):
    """The small ConvNet trained from scratch on hymenoptera, for square images of any size.

    conv 3->4 5x5, ReLU, max-pool 2, conv 4->8 5x5, ReLU, max-pool 2, fully connected to 512, ReLU, dropout 0.5,
    classes.
    """

    def __init__(self, classes: int, size: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 8, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.hidden = nn.Sequential(nn.Linear(8 * (size // 4) ** 2, 512), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(512, classes)

    def forward(self, x_B3HW: Tensor) -> Tensor:
        """Return the logits (B, classes)."""
        logits: Tensor = self.head(self.hidden(self.features(x_B3HW)))
        return logits


def resnet18_32px(classes: int) -> nn.Module:
    """Build ResNet-18 for 32 px images: a 3x3 stride-1 stem and no max-pool (as in kuangliu/pytorch-cifar)."""
    network: nn.Module = resnet18(num_classes=classes)
    network.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    return network


class _Residual(nn.Module):
    """Adds two convolutions of an input to it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = _convolution(width, width), _convolution(width, width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the sum (B, C, H, W)."""
        added_BCHW: Tensor = self.conv2(self.conv1(x_BCHW))
        return x_BCHW + added_BCHW


def resnet9_32px(classes: int) -> nn.Module:
    """Build the ResNet-9 that trains in seconds on 32 px images, 6.6 million parameters.

    It is the network of David Page's "How to train your ResNet" (2018), which won DAWNBench's CIFAR-10 race.
    """
    return nn.Sequential(OrderedDict(
        conv1=_convolution(3, 64),
        conv2=_convolution(64, 128, nn.MaxPool2d(2)),
        layer1=_Residual(128),
        conv3=_convolution(128, 256, nn.MaxPool2d(2)),
        conv4=_convolution(256, 512, nn.MaxPool2d(2)),
        layer2=_Residual(512),
        maxpool=nn.MaxPool2d(4),
        avgpool=nn.AdaptiveAvgPool2d(1),  # nothing is left to average at 32 px
        flatten=nn.Flatten(),
        fc=nn.Linear(512, classes),
    ))  # fmt: skip


def _convolution(narrow: int, wide: int, *then: nn.Module) -> nn.Module:
    convolution = nn.Conv2d(narrow, wide, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(wide), nn.ReLU(inplace=True), *then)


def small_resnet(classes: int) -> nn.Module:
    """Build a residual network of 1.2 million parameters, to train from scratch on few images of any size from 32 px.

    It is a ResNet-10 of half the usual width (He et al. 2016; one basic block a stage; 32, 64, 128 and 256 channels).
    Its global pooling keeps the head small at every input size.
    """
    widths = [32, 32, 64, 128, 256]
    blocks = [_block(narrow, wide, 1 if number == 0 else 2) for number, (narrow, wide) in enumerate(pairwise(widths))]
    return nn.Sequential(OrderedDict(
        conv1=nn.Conv2d(3, widths[0], kernel_size=7, stride=2, padding=3, bias=False),
        bn1=nn.BatchNorm2d(widths[0]),
        relu=nn.ReLU(inplace=True),
        maxpool=nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        **{f"layer{number}": block for number, block in enumerate(blocks, 1)},
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(widths[-1], classes),
    ))  # fmt: skip


def _block(narrow: int, wide: int, stride: int) -> nn.Module:
    shortcut = nn.Sequential(conv1x1(narrow, wide, stride), nn.BatchNorm2d(wide)) if stride > 1 else None
    block: nn.Module = BasicBlock(narrow, wide, stride, shortcut)
    return block


_OF_ANY_SIZE = {"resnet18_32px": resnet18_32px, "resnet9_32px": resnet9_32px, "small_resnet": small_resnet}


def names() -> list[str]:
    """Return the names of the networks here."""
    return ["convnet", *_OF_ANY_SIZE]


def build(name: str, classes: int, size: int, drop_path: float | None = None) -> nn.Module:
    """Build one of `names()`.

    Raises:
        ValueError: a `drop_path`; none of them can leave out residual branches.
    """
    if drop_path is not None:
        raise ValueError(f"transferlab/{name} cannot leave out residual branches")
    if name == "convnet":
        return ConvNet(classes, size)
    return _OF_ANY_SIZE[name](classes)


def preset(name: str, weights: str | None) -> Preset:
    """Return 32 px for the networks of CIFAR's images, 224 px for the others.

    Raises:
        ValueError: weights by name; there are none.
    """
    if weights is not None:
        raise ValueError("names no weights: networks of this project have none; use null or a weights file")
    return Preset(size=32, resize=32) if name.endswith("_32px") else Preset(size=224, resize=256)


def tensors(name: str, weights: str, size: int) -> dict[str, Tensor]:
    """Refuse weights by name. Never reached with a valid config: `preset` has refused it before.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"transferlab/{name} has no weights '{weights}'")


def adapt(network: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors as they are: files of these networks have one form."""
    return tensors
