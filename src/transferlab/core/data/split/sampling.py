"""Stratified draws that depend on a seed and on names, never on the order of rows.

Single images are drawn by systematic sampling (Cochran, Sampling Techniques, 1977, chapter 8): ordered by stratum, then
by a hash of (salt, path), every n/k-th is taken. So exactly k are taken in all, and from each stratum the proportional
number, rounded up or down. Whole groups are dealt greedily, as scikit-learn's StratifiedGroupKFold does, here also to
sides of unequal size, and in a random order rather than the largest first, so that re-splits differ.

Shapes: N images, G groups, S strata, K sides, C candidates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Orders that are tried for dealing groups; the best balanced one is kept.
CANDIDATES = 16


def take(images: pd.DataFrame, strata: Sequence[str], count: int, salt: str) -> NDArray[np.bool_]:
    """Take `count` rows (N,), in proportion from every stratum and every leading part of it.

    Args:
        images: path and the columns of `strata`.
        strata: columns, the most important first.
        count: of rows to take.
        salt: another one takes other rows.
    """
    taken = np.zeros(len(images), dtype=np.bool_)
    taken[_order(images, strata, salt)[_spread(len(images), count)]] = True
    return taken


def take_groups(images: pd.DataFrame, strata: Sequence[str], share: float, salt: str) -> NDArray[np.bool_]:
    """Take whole groups, about `share` of the images and of every stratum: a mask (N,) of rows. Arguments as `take`."""
    is_taken: NDArray[np.bool_] = _deal(images, strata, np.array([share, 1 - share]), salt) == 0
    return is_taken


def fold_of(images: pd.DataFrame, strata: Sequence[str], folds: int, salt: str) -> NDArray[np.int64]:
    """Return the fold (N,) of every row: stratified and of equal size. Arguments as `take`."""
    fold = np.empty(len(images), dtype=np.int64)
    fold[_order(images, strata, salt)] = np.arange(len(images)) % folds
    return fold


def fold_of_groups(images: pd.DataFrame, strata: Sequence[str], folds: int, salt: str) -> NDArray[np.int64]:
    """Return the fold (N,) of every row; a group is in one fold. Arguments as `take`."""
    return _deal(images, strata, np.full(folds, 1 / folds), salt)


def nested_order(images: pd.DataFrame, unit: str, strata: Sequence[str], salt: str) -> NDArray[np.int64]:
    """Order the rows (N,) so that every beginning is stratified, whatever its length.

    Each stratum's units come at evenly spread places (i + 1/2)/n: the order in which Webster's method (Sainte-Lague)
    hands out seats. The rows of a unit stay together.

    Args:
        images: the columns `unit` and `strata`.
        unit: the column that says which rows stay together: path, or group.
        strata: columns; a unit belongs to the stratum of most of its rows.
        salt: another one gives another order.
    """
    cells = images[[unit]].assign(stratum=_joined(images, strata))
    sizes = cells.groupby([unit, "stratum"]).size().rename("rows").reset_index()
    sizes = sizes.sort_values(["rows", "stratum"], ascending=[False, True], kind="stable")
    units = sizes.groupby(unit).agg(stratum=("stratum", "first"), rows=("rows", "sum"))
    units["hash"] = _hashes(units.index, salt)
    units = units.sort_values(["stratum", "hash"])
    by_stratum = units.groupby("stratum")["rows"]
    units["place"] = (by_stratum.cumsum() - units["rows"] / 2) / by_stratum.transform("sum")
    units = units.sort_values(["place", "hash"])
    rank = pd.Series(np.arange(len(units)), index=units.index)
    return np.argsort(images[unit].map(rank).to_numpy(), kind="stable")


def _hashes(names: Iterable[str], salt: str) -> list[str]:
    return [hashlib.sha256(f"{salt} {name}".encode()).hexdigest() for name in names]


def _joined(images: pd.DataFrame, columns: Sequence[str]) -> pd.Series[str]:
    """Join the values of columns to one key for each row."""
    joined = pd.Series("", index=images.index)
    for column in columns:
        joined = joined + images[column] + "\0"
    return joined


def _order(images: pd.DataFrame, strata: Sequence[str], salt: str) -> NDArray[np.int64]:
    """Order the rows by stratum, then by the hash of (salt, path)."""
    keys = images[list(strata)].assign(hash=_hashes(images["path"], salt)).reset_index(drop=True)
    return keys.sort_values([*strata, "hash"]).index.to_numpy()


def _spread(n: int, k: int) -> NDArray[np.bool_]:
    """Spread `k` of `n` places evenly: any run of places has its share, rounded up or down."""
    reached = (np.arange(n + 1) * k + n // 2) // max(n, 1)
    return np.diff(reached) > 0


def _deal(images: pd.DataFrame, strata: Sequence[str], shares_K: NDArray[np.float64], salt: str) -> NDArray[np.int64]:
    """Deal whole groups to sides: the side (N,) of every row.

    One group after the other goes to the side where it least increases the chi-square distance between what the sides
    have of every stratum and their shares of it. Of `CANDIDATES` random orders the one that ends nearest is kept.
    """
    names, group_N = np.unique(images["group"].to_numpy(dtype=object), return_inverse=True)
    amounts_GS = _amounts(images, group_N, len(names), strata)
    order_CG = np.array([np.argsort(_hashes(names, f"{salt} {candidate}")) for candidate in range(CANDIDATES)])
    candidates_C, goal_K1 = np.arange(CANDIDATES), shares_K[:, None]
    placed_CKS = np.zeros((CANDIDATES, len(shares_K), amounts_GS.shape[1]))
    side_CG = np.empty_like(order_CG)
    for group_C in order_CG.T:
        more_C1S = amounts_GS[group_C][:, None]
        growth_CKS = more_C1S * (2 * (placed_CKS - goal_K1) + more_C1S) / goal_K1
        side_C = growth_CKS.sum(axis=2).argmin(axis=1)
        placed_CKS[candidates_C, side_C] += more_C1S[:, 0]
        side_CG[candidates_C, group_C] = side_C
    distance_C = ((placed_CKS - goal_K1) ** 2 / goal_K1).sum(axis=(1, 2))
    side_G: NDArray[np.int64] = side_CG[distance_C.argmin()].astype(np.int64)
    return side_G[group_N]


def _amounts(
    images: pd.DataFrame, group_N: NDArray[np.intp], groups: int, strata: Sequence[str]
) -> NDArray[np.float64]:
    """Return which share (G, S) of all images, of each class and of each finer stratum every group holds."""
    columns = []
    for depth in range(len(strata) + 1):
        stratum_N = pd.factorize(_joined(images, strata[:depth]), sort=True)[0]
        counts_GS = np.zeros((groups, stratum_N.max() + 1))
        np.add.at(counts_GS, (group_N, stratum_N), 1)
        columns.append(counts_GS / counts_GS.sum(axis=0))
    return np.concatenate(columns, axis=1)
