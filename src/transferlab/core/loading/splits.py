"""Finds the images of a split: which store has them at a network's size, and which of its rows they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from transferlab.core.data.split.index import split_columns, splits_of_trial
from transferlab.core.data.store import ImageStore
from transferlab.core.errors import MendableError
from transferlab.core.loading.images import Split
from transferlab.core.transforms.view import View


class NoStoreError(MendableError):
    """The images were decoded for other parameters."""


def store_for(view: View, stores: Mapping[str, ImageStore]) -> ImageStore:
    """Return the images at the resize of a view.

    Raises:
        NoStoreError: there is no such store.
    """
    if view.stored_as.key not in stores:
        raise NoStoreError(
            f"no images are stored as {view.stored_as.key} ({', '.join(stores)} are): "
            "run `kedro run --pipeline=data` with the same --env and --params"
        )
    return stores[view.stored_as.key]


def part_of(split: Split, on_N: NDArray[np.bool_]) -> Split:
    """Return a part of a split's images; what is computed for all of them, or for more, serves the part."""
    pool = split.rows if split.pool is None else split.pool
    return replace(split, rows=split.rows[on_N], labels=split.labels[on_N], pool=pool)


def split_of(index: pd.DataFrame, store: ImageStore, name: str, trial: int) -> Split:
    """Return the images of a split, as a trial sees it, in the order of the index.

    Where trials have splits of their own, the split also knows the images of all of them: what is computed for one
    split can then serve the others.

    Raises:
        StoreError: the store was made by another run than the index, and lacks some.
    """
    of_split = (splits_of_trial(index, trial) == name).to_numpy()
    rows = store.rows_of(index["pixel_sha256"])
    pool = rows if len(split_columns(index)) > 1 else None
    return Split(name, store, rows[of_split], index["label"].to_numpy()[of_split], pool)
