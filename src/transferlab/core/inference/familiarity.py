"""Is an image like those that the network was trained on? Distance to the nearest training features.

Sun, Ming, Zhu and Li 2022, "Out-of-Distribution Detection with Deep Nearest Neighbors" (ICML): features on the unit
sphere, distance to the k-th nearest training image, a threshold that flags a chosen share of held-out images.

Shapes: N images, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

Floats = NDArray[np.floating]
NEIGHBORS = 10
FLAGGED = 0.05


@dataclass(frozen=True)
class Familiarity:
    """Distances to training images, and from where on an image is unfamiliar.

    Attributes:
        training: an index of the training images' features.
        threshold: distances above it are unfamiliar.
    """

    training: NearestNeighbors
    threshold: float

    @classmethod
    def of(
        cls, training_NF: Floats, held_out_NF: Floats, neighbors: int = NEIGHBORS, flagged: float = FLAGGED
    ) -> Familiarity:
        """Index the training images and set the threshold.

        Args:
            training_NF: features of training images.
            held_out_NF: features of images of the same kind that were not trained on.
            neighbors: the distance to the so many-th nearest counts; fewer where there are fewer training images.
            flagged: share of the held-out images that the threshold flags.
        """
        index = NearestNeighbors(n_neighbors=min(neighbors, len(training_NF))).fit(_on_sphere(training_NF))
        return cls(index, float(np.quantile(_distance(index, held_out_NF), 1 - flagged)))

    def distance(self, features_NF: Floats) -> NDArray[np.float64]:
        """Return each image's distance (N,) to its k-th nearest training image, between 0 and 2."""
        return _distance(self.training, features_NF)

    def unfamiliar(self, features_NF: Floats) -> NDArray[np.bool_]:
        """Return which images (N,) are farther from the training images than the threshold."""
        return self.distance(features_NF) > self.threshold


def _distance(index: NearestNeighbors, features_NF: Floats) -> NDArray[np.float64]:
    distance_Nk: NDArray[np.float64] = index.kneighbors(_on_sphere(features_NF))[0]
    return distance_Nk[:, -1]


def _on_sphere(features_NF: Floats) -> NDArray[np.float64]:
    """Scale each image's features to length one; all zeros stay."""
    length_N1 = np.linalg.norm(features_NF.astype(np.float64), axis=1, keepdims=True)
    return features_NF / np.where(length_N1 > 0, length_N1, 1.0)
