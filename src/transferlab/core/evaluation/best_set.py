"""The strategies that may be the best, and how far each may be behind it: one simultaneous 95% statement.

Hsu's constrained multiple comparisons with the best (1984, Annals of Statistics 12; unequal variances: Edwards and Hsu
1983, JASA 78). It needs no correction for a leader that was chosen on the same images, because it rests on one event
only: that the *true* best, whichever it is, is not measured too low against any other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from transferlab.core.evaluation.variance import LEVEL

Floats = NDArray[np.float64]


def one_sided(strategies: int) -> float:
    """Return the probability that each one-sided comparison with the best needs (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(strategies - 1, 1)


def behind_the_best(gap_SS: Floats, half_SS: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Compare each strategy with the best of the others.

    Args:
        gap_SS: `gap_SS[i, j]` is by how much i is better than j.
        half_SS: half-widths of the one-sided intervals of `gap_SS`, at `one_sided(S)`; infinity where unknown. The
            diagonals are ignored.

    Returns:
        Which strategies may be the best, and how far each is behind the best at most (0 or more). All of it holds
        together with a probability of 95%.
    """
    others_SS = ~np.eye(len(gap_SS), dtype=bool)
    may_be_best_S = np.where(others_SS, gap_SS + half_SS, np.inf).min(axis=1) >= 0
    from_best_SS = np.where(others_SS & may_be_best_S, gap_SS - half_SS, np.inf)
    behind_S: Floats = np.maximum(0.0, -from_best_SS.min(axis=1))
    return may_be_best_S, behind_S
