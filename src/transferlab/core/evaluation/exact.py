"""An exact test of two strategies on the same images, for when these are too few for formulas."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def sign_flip(hits_TN: Floats, other_TN: Floats) -> float:
    """Return the exact two-sided p-value that two strategies are right equally often on images of this kind.

    Under the null hypothesis an image favors either strategy with the same probability, so that the sign of its sum
    over trials may be flipped. All `2**N` flips are counted by a Fourier transform. For one trial this is McNemar's
    exact test (1947). It speaks of new images for these trained networks, not of other seeds.

    Args:
        hits_TN: 1 where a trial of one strategy is right, else 0.
        other_TN: the same of the other strategy.
    """
    favor_N = np.rint((hits_TN - other_TN).sum(axis=0)).astype(int)
    most = int(np.abs(favor_N).sum())
    sizes, counts = np.unique(np.abs(favor_N), return_counts=True)
    length = 2 * most + 2
    angle_F = 2 * np.pi * np.arange(length // 2 + 1) / length
    transform_F = np.prod([np.cos(size * angle_F) ** count for size, count in zip(sizes, counts, strict=True)], axis=0)
    probability = np.fft.irfft(transform_F, length)
    sum_of = np.fft.fftfreq(length, 1 / length)
    return float(min(1.0, probability[np.abs(sum_of) >= abs(int(favor_N.sum()))].sum()))
