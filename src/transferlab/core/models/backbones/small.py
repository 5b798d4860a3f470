"""The networks of the published experiments that no library has."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import resnet18

from transferlab.core.transforms.view import Preset


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


def names() -> list[str]:
    """Return the names of the networks here."""
    return ["convnet", "resnet18_32px"]


def build(name: str, classes: int, size: int) -> nn.Module:
    """Build one of `names()`."""
    return ConvNet(classes, size) if name == "convnet" else resnet18_32px(classes)


def preset(name: str, weights: str | None) -> Preset:
    """Return 224 px for the ConvNet, 32 px for the small ResNet.

    Raises:
        ValueError: weights by name; there are none.
    """
    if weights is not None:
        raise ValueError("names no weights: networks of this project have none; use null or a weights file")
    size = 224 if name == "convnet" else 32
    return Preset(size=size, resize=256 if name == "convnet" else size)


def tensors(name: str, weights: str, size: int) -> dict[str, Tensor]:
    """Refuse weights by name. Never reached with a valid config: `preset` has refused it before.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"transferlab/{name} has no weights '{weights}'")


def adapt(network: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors as they are: files of these networks have one form."""
    return tensors
