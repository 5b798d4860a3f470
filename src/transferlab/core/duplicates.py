"""The same photograph twice: exact duplicates anywhere, near ones between what is trained on and what is held out."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from transferlab.core.store import ImageStore

COLUMNS = ["path_a", "split_a", "path_b", "split_b", "kind", "distance"]
HASH_SIDE = 16
# Measured on photographs of 300 px and more: JPEG at quality 50 changes 2 bits (median; 6 at the 90th percentile), half
# the size 4 (8), 15% more light 3 (10); of 78,000 pairs of different photographs none is nearer than 66. A crop of 2%
# changes 31: crops are not found. At 32 px re-encoding changes 28, so that only very near copies are found.
NEAR_BITS = 12
ROWS_AT_ONCE = 256
SPLIT_ORDER = {"train": 0, "validation": 1, "test": 2}


def duplicates(index: pd.DataFrame, store: ImageStore, near_bits: int = NEAR_BITS) -> pd.DataFrame:
    """Pairs of images that are, or may be, the same photograph.

    Exact ones have equal pixels before any resize; of m equal images, m - 1 pairs name the first. For each held-out
    image (test or validation) the nearest training image is a near duplicate when their 256-bit difference hashes
    differ in at most `near_bits` bits. All pairs are compared, 256 images at a time, with XOR and popcount.

    Args:
        index: path, split, pixel_sha256; row i is row i of `store`.
        store: the images, of any size.
        near_bits: the largest Hamming distance of a near duplicate.

    Returns:
        path_a, split_a, path_b, split_b, kind ("exact" or "near"), distance (bits), nearest first.
    """
    pairs = pd.concat([_exact(index), _near(index, store, near_bits)], ignore_index=True)
    return pairs.sort_values(["distance", "kind", "path_a", "path_b"], ignore_index=True)


def difference_hash(image_HWC: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The 256-bit difference hash (dHash, N. Krawetz, "Kind of Like That", 2013, with 16 instead of 8 pixels a side).

    Of the grey image at 17 x 16 pixels, each bit says whether a pixel is darker than its right neighbour. The
    original's 64 bits are the same for dozens of different solar cells; 256 tell them apart.
    """
    grey = Image.fromarray(image_HWC).convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX)
    grey_HW = np.asarray(grey)
    return np.packbits(grey_HW[:, :-1] < grey_HW[:, 1:]).view(np.uint64)


def _exact(index: pd.DataFrame) -> pd.DataFrame:
    order = index["split"].map(SPLIT_ORDER)
    by_split = index.assign(order=order).sort_values(["order", "path"])
    first = by_split.groupby("pixel_sha256")[["path", "split"]].transform("first")
    pairs = pd.concat([first.set_axis(["path_a", "split_a"], axis=1), by_split[["path", "split"]]], axis=1)
    pairs = pairs[pairs["path_a"] != pairs["path"]].rename(columns={"path": "path_b", "split": "split_b"})
    return pd.DataFrame(pairs.assign(kind="exact", distance=0), columns=COLUMNS)


def _near(index: pd.DataFrame, store: ImageStore, near_bits: int) -> pd.DataFrame:
    is_train = (index["split"] == "train").to_numpy()
    train, held_out = np.flatnonzero(is_train), np.flatnonzero(~is_train)
    if not len(train) or not len(held_out):
        return pd.DataFrame(columns=COLUMNS)
    hashes = np.stack([difference_hash(image_HWC) for image_HWC in store.batch(range(len(store)))])
    nearest, distance = _nearest(hashes[held_out], hashes[train])
    a, b = index.iloc[train[nearest]], index.iloc[held_out]
    pairs = pd.DataFrame({
        "path_a": a["path"].to_numpy(), "split_a": "train", "path_b": b["path"].to_numpy(),
        "split_b": b["split"].to_numpy(), "kind": "near", "distance": distance,
    })  # fmt: skip
    same = a["pixel_sha256"].to_numpy() == b["pixel_sha256"].to_numpy()
    return pairs.loc[pd.Series((distance <= near_bits) & ~same)]


def _nearest(of: NDArray[np.uint64], among: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each hash in `of` the place of the nearest in `among`, and the distance in bits."""
    nearest, distances = [], []
    for start in range(0, len(of), ROWS_AT_ONCE):
        block = of[start : start + ROWS_AT_ONCE]
        bits = np.zeros((len(block), len(among)), np.uint16)
        for word in range(of.shape[1]):
            bits += np.bitwise_count(block[:, word, None] ^ among[None, :, word])
        nearest.append(bits.argmin(axis=1))
        distances.append(bits.min(axis=1))
    return np.concatenate(nearest).astype(np.int64), np.concatenate(distances).astype(np.int64)
