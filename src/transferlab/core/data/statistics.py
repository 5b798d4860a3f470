"""Statistics of the images of a split."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from transferlab.core.data.split.index import EXCLUDED
from transferlab.core.data.store import ImageStore


def channel_statistics(store: ImageStore, rows: NDArray[np.int64]) -> dict[str, list[float]]:
    """Return mean and standard deviation per channel (R, G, B) over all *pixels* of some images, values in [0, 1].

    Over pixels, not over the means of images: the widely copied CIFAR-10 deviations (0.2023, ...) are the mean of the
    images' own deviations; over pixels they are 0.2470, 0.2435, 0.2616.
    """
    counts_W = np.zeros(3 * 256, dtype=np.int64)  # of each value of each channel: exact, in whatever order
    for row in rows:
        counts_W += Image.fromarray(store[int(row)]).histogram()
    counts_3V = counts_W.reshape(3, 256)
    count, values_V = counts_3V[0].sum(), np.arange(256) / 255
    mean = counts_3V @ values_V / count
    # An image without any contrast would make this zero, and the normalisation divide by it.
    deviation = np.sqrt(np.maximum(counts_3V @ values_V**2 / count - mean**2, 1e-6))
    return {"mean": mean.tolist(), "std": deviation.tolist()}


def class_counts(index: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Count the images per split and class; those left out as duplicates are a split of their own."""
    return {
        split: {
            str(name): int(count) for name, count in index.loc[index["split"] == split, "class"].value_counts().items()
        }
        for split in ("train", "validation", "test", EXCLUDED)
        if (index["split"] == split).any()
    }
