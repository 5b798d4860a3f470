"""Selects parts of the test split that are also measured alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray


def parts(paths: Sequence[str], subsets: Mapping[str, str]) -> dict[str, NDArray[np.bool_]]:
    """Return which images (N,) each part of a split is measured on: all as `test`, each subset as `test/<name>`.

    Args:
        paths: of the images.
        subsets: a pattern of paths (`fnmatch`, case-sensitive) for each name; one that no image matches has no part.
    """
    of_subset = {name: np.array([fnmatchcase(path, pattern) for path in paths]) for name, pattern in subsets.items()}
    return {
        "test": np.ones(len(paths), dtype=np.bool_),
        **{f"test/{name}": mask for name, mask in of_subset.items() if mask.any()},
    }
