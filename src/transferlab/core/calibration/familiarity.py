"""Is an image like those that the network was trained on? Distance to the nearest training features.

Sun, Ming, Zhu and Li 2022, "Out-of-Distribution Detection with Deep Nearest Neighbors" (ICML): features on the unit
sphere, distance to the k-th nearest training image, a threshold that flags a chosen share of held-out images. They show
that a sample of the training images serves as well.

Shapes: N images, M training images, F features.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class Familiarity:
    """Distances to training images, and from where on an image is unfamiliar.

    Attributes:
        indexes: of each network whose answers are averaged, the training images' features.
        threshold: a mean distance above it is unfamiliar.
    """

    indexes: tuple[NearestNeighbors, ...]
    threshold: float

    @classmethod
    def of(
        cls, indexes: Sequence[NearestNeighbors], held_out_N: NDArray[np.float64], flagged: float = FLAGGED
    ) -> Familiarity:
        """Set the threshold.

        Args:
            indexes: see `neighbors_among`.
            held_out_N: mean distances of images of the same kind that were not trained on.
            flagged: share of the held-out images that the threshold flags.
        """
        return cls(tuple(indexes), float(np.quantile(held_out_N, 1 - flagged)))

    def relative_distance(self, features: Sequence[Floats]) -> NDArray[np.float64]:
        """Return each image's mean distance (N,) over the threshold; above 1 it is unfamiliar.

        Args:
            features: of each network, features_NF.
        """
        distances = [distance(index, own_NF) for index, own_NF in zip(self.indexes, features, strict=True)]
        return self.relative(np.mean(distances, axis=0))

    def relative(self, mean_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return mean distances (N,) over the threshold; above 1 an image is unfamiliar."""
        relative_N: NDArray[np.float64] = mean_N / max(self.threshold, float(np.finfo(np.float64).tiny))
        return relative_N
