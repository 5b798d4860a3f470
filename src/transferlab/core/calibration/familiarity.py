"""Is an image like those that the network was trained on? Distance to the nearest training features.

Sun, Ming, Zhu and Li 2022, "Out-of-Distribution Detection with Deep Nearest Neighbors" (ICML): features on the unit
sphere, distance to the k-th nearest training image, a threshold that flags a chosen share of held-out images. They show
that a sample of the training images serves as well. Here the features of several layers may speak, each in units of its
own threshold, and the one that finds the image strangest counts: one layer's silence proves nothing.

Shapes: N images, M training images, F features of a layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.neighbors import NearestNeighbors

Floats = NDArray[np.floating]
NEIGHBORS = 10
FLAGGED = 0.05
_TINY = float(np.finfo(np.float64).tiny)


def neighbors_among(training_MF: Floats, neighbors: int = NEIGHBORS) -> NearestNeighbors:
    """Index training images by their features; look for fewer neighbours where there are fewer images."""
    from sklearn.neighbors import NearestNeighbors  # it takes a second to load, which training need not

    return NearestNeighbors(n_neighbors=min(neighbors, len(training_MF))).fit(on_sphere(training_MF))


def distance(index: NearestNeighbors, features_NF: Floats) -> NDArray[np.float64]:
    """Return each image's distance (N,) to its k-th nearest training image, between 0 and 2."""
    distance_Nk: NDArray[np.float64] = index.kneighbors(on_sphere(features_NF))[0]
    return distance_Nk[:, -1]


def on_sphere(features_NF: Floats) -> NDArray[np.float64]:
    """Scale each image's features to length one; all zeros stay."""
    features_NF = features_NF.astype(np.float64)
    length_N1 = np.linalg.norm(features_NF, axis=1, keepdims=True)
    scaled_NF: NDArray[np.float64] = features_NF / np.where(length_N1 > 0, length_N1, 1.0)
    return scaled_NF


def threshold(held_out_N: NDArray[np.float64], flagged: float = FLAGGED) -> float:
    """Return the distance that new images like the held-out ones exceed with at most the chosen probability.

    It is the quantile of split conformal prediction (see `conformal.calibrate`): the plain one flags more new images
    than held-out ones, of 49 a third more. Of fewer than 19 images, none but the farthest could tell 5%: it does.
    """
    rank = min(math.ceil((len(held_out_N) + 1) * (1 - flagged)), len(held_out_N))
    return max(float(np.sort(held_out_N)[rank - 1]), _TINY)


@dataclass(frozen=True)
class Nearness:
    """How far images are from the training images, as one network sees them.

    Attributes:
        indexes: of each layer, the training images' features.
        thresholds: of each layer, the distance that few held-out images exceed.
    """

    indexes: tuple[NearestNeighbors, ...]
    thresholds: tuple[float, ...]

    def distance(self, features: Sequence[Floats]) -> NDArray[np.float64]:
        """Return the distance (N,) in that layer in which an image is strangest, in units of the layer's threshold.

        Args:
            features: of each layer, features_NF. There may be others before them.
        """
        own = features[-len(self.indexes) :]
        return self.strangest([distance(index, layer_NF) for index, layer_NF in zip(self.indexes, own, strict=True)])

    def strangest(self, distances: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the largest (N,) of the layers' distances, each in units of its threshold."""
        largest_N: NDArray[np.float64] = np.max(
            [layer_N / unit for layer_N, unit in zip(distances, self.thresholds, strict=True)], axis=0
        )
        return largest_N


@dataclass(frozen=True)
class Familiarity:
    """Distances to training images, and from where on an image is unfamiliar.

    Attributes:
        networks: those whose answers are averaged.
        threshold: a mean distance above it is unfamiliar.
    """

    networks: tuple[Nearness, ...]
    threshold: float

    @property
    def thresholds(self) -> tuple[float, ...]:
        """All that decides, once the training images are given: the threshold, and those of all layers."""
        return (self.threshold, *(unit for network in self.networks for unit in network.thresholds))

    def relative_distance(self, features: Sequence[Sequence[Floats]]) -> NDArray[np.float64]:
        """Return each image's mean distance (N,) over the threshold; above 1 it is unfamiliar.

        Args:
            features: of each network and each of its layers, features_NF.
        """
        distances = [network.distance(own) for network, own in zip(self.networks, features, strict=True)]
        return self.relative(np.mean(distances, axis=0))

    def relative(self, mean_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return mean distances (N,) over the threshold; above 1 an image is unfamiliar."""
        relative_N: NDArray[np.float64] = mean_N / self.threshold
        return relative_N
