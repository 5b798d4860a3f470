"""Pairs what strategies said by trial and by image, also where each trial has test images of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from transferlab.core.errors import MendableError
from transferlab.core.evaluation.contributions import Outcomes

Floats = NDArray[np.float64]


class DifferentImagesError(MendableError):
    """Two strategies were tested on different images."""


@dataclass(frozen=True)
class Values:
    """One strategy's value of each trial and image.

    Attributes:
        trials: numbers of the trials, ascending.
        paths: paths of the images, sorted.
        values_TN: the values; NaN where a trial did not test an image.
    """

    trials: tuple[int, ...]
    paths: tuple[str, ...]
    values_TN: Floats

    @classmethod
    def of(cls, outcomes: Outcomes, metric: str, sign: float = 1.0) -> Values:
        """Return the contributions to a metric, times `sign`."""
        return cls(outcomes.trials, outcomes.paths, sign * outcomes.contributions(metric))

    def of_trials(self, trials: Sequence[int]) -> Values:
        """Return the values of some trials, on the images that these tested."""
        of_them_TN = self.values_TN[[self.trials.index(trial) for trial in trials]]
        tested = np.flatnonzero((~np.isnan(of_them_TN)).any(axis=0))
        return Values(tuple(trials), tuple(self.paths[place] for place in tested), of_them_TN[:, tested])


def on_shared_trials(every: Sequence[Values]) -> list[Values]:
    """Return the values of the trials that all strategies have, so that rows and columns are the same in each.

    `check_same_images` must have passed.
    """
    shared = sorted(set.intersection(*(set(each.trials) for each in every)))
    return [each.of_trials(shared) for each in every]


def check_same_images(outcomes: Sequence[Outcomes]) -> None:
    """Check that every trial tested the same images in all strategies that have it.

    Raises:
        DifferentImagesError: it did not.
    """
    tested = [dict(_tested(each)) for each in outcomes]
    for (one, of_one), (other, of_other) in combinations(zip(outcomes, tested, strict=True), 2):
        if any(of_one[trial] != of_other[trial] for trial in of_one.keys() & of_other.keys()):
            names = f"{one.strategy} and {other.strategy}"
            raise DifferentImagesError(
                f"{names} were evaluated on different test images: run both again (--from-nodes=data.split_images)"
            )


def _tested(outcomes: Outcomes) -> Iterator[tuple[int, frozenset[str]]]:
    """Yield each trial and the paths that it tested."""
    paths_N = np.array(outcomes.paths, dtype=object)
    for trial, p_NK in zip(outcomes.trials, outcomes.p_TNK, strict=True):
        yield trial, frozenset(paths_N[~np.isnan(p_NK).any(axis=1)])
