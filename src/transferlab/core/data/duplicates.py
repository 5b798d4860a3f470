"""The same photograph twice: exact duplicates anywhere, near ones between splits."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from transferlab.core.data.store import ImageStore

COLUMNS = ["path_a", "class_a", "split_a", "path_b", "class_b", "split_b", "kind", "distance"]
HASH_SIDE = 16
# Measured on photographs of 300 px and more: JPEG at quality 50 changes 2 bits (median; 6 at the 90th percentile), half
# the size 4 (8), 15% more light 3 (10); of 78,000 pairs of different photographs none is nearer than 66. A crop of 2%
# changes 31: crops are not found. At 32 px re-encoding changes 28, so that only very near copies are found.
NEAR_BITS = 12
ROWS_AT_ONCE = 256
SPLITS = ("test", "validation", "train")  # the earlier, the more an image counts: of a pair, the later one may go


def duplicates(index: pd.DataFrame, store: ImageStore, near_bits: int = NEAR_BITS) -> pd.DataFrame:
    """Find pairs of images that are, or may be, the same photograph.

    Exact ones have equal pixels before any resize; of m equal images, m - 1 pairs name the one in the most held-out
    split. Of a training image and a held-out one (test or validation), and of a validation and a test image, each is
    compared with its nearest in the other split: a near duplicate when their 256-bit difference hashes differ in at
    most `near_bits` bits. All pairs are compared, 256 images at a time, with XOR and popcount. Images whose hash tells
    nothing are left out, such as an even one, or one that brightens from left to right: they would be near one another
    whatever they show.

    Args:
        index: path, class, split, pixel_sha256.
        store: the images, of any size.
        near_bits: the largest Hamming distance of a near duplicate.

    Returns:
        path_a, class_a, split_a, path_b, class_b, split_b, kind ("exact" or "near"), distance (bits): pairs of
        different classes first, then nearest first. Across splits, path_b is in the more held-out one, and every image
        that a more held-out one repeats is some row's path_a.
    """
    rows = store.rows_of(index["pixel_sha256"])
    hashes = np.stack([difference_hash(image_HWC) for image_HWC in store.batch(rows)])
    near = [_near(index, hashes, *pair, near_bits) for pair in combinations(SPLITS, 2)]
    pairs = pd.concat([_exact(index), *near], ignore_index=True)
    agrees = pairs["class_a"] == pairs["class_b"]
    order = pairs.assign(agrees=agrees).sort_values(["agrees", "distance", "kind", "path_a", "path_b"]).index
    return pairs.loc[order].reset_index(drop=True)


def contradictory(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs whose images are in different classes: at least one of the labels is wrong."""
    contradicting: pd.DataFrame = pairs[pairs["class_a"] != pairs["class_b"]]
    return contradicting


def repeating_classes(index: pd.DataFrame) -> dict[str, list[str]]:
    """Return the classes of which every image stands in another class too, each with those others."""
    images: pd.DataFrame = index[["pixel_sha256", "class"]].drop_duplicates()
    is_in_several = images["pixel_sha256"].duplicated(keep=False)
    whole = images.assign(several=is_in_several).groupby("class")["several"].all()
    others = {}
    for name in whole.index[whole]:
        own = images.loc[images["class"] == name, "pixel_sha256"]
        others[str(name)] = sorted(set(images.loc[images["pixel_sha256"].isin(own), "class"]) - {name})
    return others


def across_splits(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs whose images are in different splits."""
    across: pd.DataFrame = pairs[pairs["split_a"] != pairs["split_b"]]
    return across


def difference_hash(image_HWC: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the 256-bit difference hash of an image.

    It is the dHash of N. Krawetz, "Kind of Like That", 2013, with 16 instead of 8 pixels a side. Of the grey image at
    17 x 16 pixels, each bit says whether a pixel is darker than its right neighbour. The original's 64 bits are the
    same for dozens of different solar cells; 256 tell them apart.
    """
    grey = Image.fromarray(image_HWC).convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX)
    grey_HW = np.asarray(grey)
    return np.packbits(grey_HW[:, :-1] < grey_HW[:, 1:]).view(np.uint64)


def _says_little(hash_N4: NDArray[np.uint64], near_bits: int) -> NDArray[np.bool_]:
    """Tell which hashes (N,) have at most `near_bits` bits unlike the others, as that of an even image has."""
    ones_N = np.bitwise_count(hash_N4).sum(axis=1, dtype=np.int64)
    few: NDArray[np.bool_] = np.minimum(ones_N, HASH_SIDE * HASH_SIDE - ones_N) <= near_bits
    return few


def _exact(index: pd.DataFrame) -> pd.DataFrame:
    by_split = index.assign(order=index["split"].map(SPLITS.index)).sort_values(["order", "path"])
    first = by_split.groupby("pixel_sha256")[["path", "class", "split"]].transform("first")
    pairs = pd.concat([by_split[["path", "class", "split"]], first], axis=1).set_axis(COLUMNS[:6], axis=1)
    pairs = pairs[pairs["path_a"] != pairs["path_b"]]
    return pd.DataFrame(pairs.assign(kind="exact", distance=0), columns=COLUMNS)


def _near(index: pd.DataFrame, hashes: NDArray[np.uint64], held_out: str, other: str, near_bits: int) -> pd.DataFrame:
    """Find pairs of an image and its nearest in the other split, from both sides; equal pixels are not counted here."""
    telling = ~_says_little(hashes, near_bits)
    a, b = (((index["split"] == split).to_numpy() & telling).nonzero()[0] for split in (other, held_out))
    if not len(a) or not len(b):
        return pd.DataFrame(columns=COLUMNS)
    nearest_b, distance_a = _nearest(hashes[a], hashes[b])
    nearest_a, distance_b = _nearest(hashes[b], hashes[a])
    rows_a, rows_b = np.concatenate([a, a[nearest_a]]), np.concatenate([b[nearest_b], b])
    pairs = pd.DataFrame({
        "path_a": index["path"].to_numpy()[rows_a], "class_a": index["class"].to_numpy()[rows_a], "split_a": other,
        "path_b": index["path"].to_numpy()[rows_b], "class_b": index["class"].to_numpy()[rows_b], "split_b": held_out,
        "kind": "near", "distance": np.concatenate([distance_a, distance_b]),
    })  # fmt: skip
    pixels = index["pixel_sha256"].to_numpy()
    near = (pairs["distance"] <= near_bits) & (pixels[rows_a] != pixels[rows_b])
    once: pd.DataFrame = pairs[near].drop_duplicates(["path_a", "path_b"])
    return once


def _nearest(of: NDArray[np.uint64], among: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each hash in `of` the place of the nearest in `among`, and the distance in bits."""
    nearest, distances = [], []
    for start in range(0, len(of), ROWS_AT_ONCE):
        block = of[start : start + ROWS_AT_ONCE]
        bits = np.zeros((len(block), len(among)), np.uint16)
        for word in range(of.shape[1]):
            bits += np.bitwise_count(block[:, word, None] ^ among[None, :, word])
        nearest.append(bits.argmin(axis=1))
        distances.append(bits.min(axis=1))
    return np.concatenate(nearest).astype(np.int64), np.concatenate(distances).astype(np.int64)
