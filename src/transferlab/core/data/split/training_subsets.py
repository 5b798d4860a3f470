"""Parts of the training images, for a learning curve: nested, stratified, group-safe. Other splits stay as they are."""

from __future__ import annotations

import pandas as pd

from transferlab.core.data.split.config import SplitConfig
from transferlab.core.data.split.names import TRAIN
from transferlab.core.data.split.plan import SplitPlan


def training_subsets(index: pd.DataFrame, draws: int, halvings: int, seed: int) -> pd.DataFrame:
    """Draw parts of trial 0's training images: a row for each image of each part.

    The smallest part is as large as `halvings` halvings leave it, or larger where it would lack a class; the largest is
    all of them. The parts of one draw are nested.

    Args:
        index: path, class, split, stratify, group.
        draws: how often each size is drawn.
        halvings: how often to halve.
        seed: of the experiment's split.

    Returns:
        Columns trial (the part's number), draw, asked (images asked for; with groups, a part may have fewer), path.
    """
    train = index[index["split"] == TRAIN].reset_index(drop=True)
    plan = SplitPlan(train, SplitConfig(seed=seed))
    sizes = min((plan.subset_sizes(draw) for draw in range(draws)), key=len)[-halvings - 1 :]
    parts = [
        pd.DataFrame(
            {"trial": place * draws + draw, "draw": draw, "asked": size, "path": train["path"][plan.subset(size, draw)]}
        )
        for place, size in enumerate(sizes)
        for draw in range(draws)
    ]
    return pd.concat(parts, ignore_index=True)
