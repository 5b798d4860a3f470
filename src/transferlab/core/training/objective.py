"""What a step makes small: the mean cross-entropy of its images, with weights by class and for mixed images.

Shapes: T trials, B images of a batch, N of a split, K classes. An ellipsis (...B) stands for the trial axis, which only
stacked heads have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from transferlab.core.errors import MendableError
from transferlab.core.validation import did_you_mean

ClassWeights = Literal["balanced"] | dict[str, float] | None


class ClassWeightsError(MendableError):
    """Class weights that do not fit the classes of the images."""


def check_classes(asked: ClassWeights, classes: Sequence[str], stage: str) -> None:
    """Check that the class weights of a stage name classes that there are.

    Raises:
        ClassWeightsError: one does not.
    """
    unknown = [name for name in asked if name not in classes] if isinstance(asked, Mapping) else []
    if unknown:
        raise ClassWeightsError(
            f"stages.{stage}.class_weights.{unknown[0]}: there is no such class; the classes are {', '.join(classes)}"
            + did_you_mean(unknown[0], classes)
        )


def class_weights(asked: ClassWeights, labels_N: Tensor, classes: Sequence[str]) -> Tensor | None:
    """Return the weight of each class, (K,) float32 on the labels' device; None weighs all images alike.

    Weights are scaled so that their mean over the training images is 1, which keeps the learning rate's meaning:
    `balanced` gives class k the weight N / (K * its images), as scikit-learn does; of a mapping, whose other classes
    count as 1, only the proportions matter.

    Args:
        asked: what the stage's config says.
        labels_N: of the training images.
        classes: names, by number.
    """
    if asked is None:
        return None
    counts_K = torch.bincount(labels_N.cpu(), minlength=len(classes)).double()
    if isinstance(asked, Mapping):
        weights_K = torch.tensor([asked.get(name, 1.0) for name in classes], dtype=torch.float64)
    else:
        weights_K = 1 / counts_K.clamp(min=1)
    return (weights_K * len(labels_N) / (weights_K * counts_K).sum()).float().to(labels_N.device)


@dataclass(frozen=True)
class Objective:
    """Mean cross-entropy over images.

    Attributes:
        smoothing: share of the target that is spread over all classes.
        weights_K: by class, on the device; None weighs all alike.
    """

    smoothing: float = 0.0
    weights_K: Tensor | None = None

    def __call__(self, logits: Tensor, y: Tensor, share: Tensor | None = None) -> Tensor:
        """Return each trial's mean loss, (T,).

        The mean is over images, not over weights, so that it does not matter how a batch is cut into passes.

        Args:
            logits: (...B, K).
            y: labels (...B); of mixed images (2, B), their own and their partner's.
            share: of each image's own label where images are mixed, (B,).
        """
        if share is None:
            loss = self._of_each(logits, y)
        else:
            loss = share * self._of_each(logits, y[0]) + (1 - share) * self._of_each(logits, y[1])
        return loss.mean(dim=-1).reshape(-1)

    def _of_each(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return the weighted cross-entropy of each image, (...B)."""
        loss = functional.cross_entropy(
            logits.flatten(0, -2), y.flatten(), reduction="none", label_smoothing=self.smoothing
        ).view_as(y)
        return loss if self.weights_K is None else loss * self.weights_K[y]
