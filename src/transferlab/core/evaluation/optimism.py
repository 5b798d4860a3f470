"""What the best of several strategies owes to having been chosen.

The highest of several noisy means is too high: partly it was good, partly lucky. A bootstrap over trials and images
(Owen 2007, Annals of Applied Statistics 1) repeats the choice and measures the luck. It begins from means that are
drawn together by as much as noise has drawn them apart (Efron and Morris 1975, JASA 70; why this mends selection: Efron
2011, JASA 106), since otherwise equal strategies would begin unequal and the choice would look easier than it was.

Shapes: S strategies, T trials, U images or groups, B bootstrap samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SAMPLES = 500


def optimism(values_STU: Floats, seed: int = 0, samples: int = SAMPLES) -> float:
    """Return by how much the highest mean over trials and units overstates its strategy; 0 for one strategy.

    Args:
        values_STU: values per strategy, trial and unit; higher is better.
        seed: of the bootstrap.
        samples: how many bootstrap samples.
    """
    strategies = len(values_STU)
    if strategies < 2:
        return 0.0
    mean_S = values_STU.mean(axis=(1, 2))
    sample_BS = _resampled(values_STU, np.random.default_rng(seed), samples)
    noise_BS = sample_BS - sample_BS.mean(axis=0)  # of mean 0 among these samples, so that luck is never below 0
    own_BS = noise_BS - noise_BS.mean(axis=1, keepdims=True)
    noise, apart = float((own_BS**2).sum(axis=1).mean()), float(((mean_S - mean_S.mean()) ** 2).sum())
    kept = max(0.0, 1 - noise / apart) if apart > 0 else 0.0
    start_S = mean_S.mean() + kept * (mean_S - mean_S.mean())
    chosen_B = (start_S + noise_BS).argmax(axis=1)
    return float(noise_BS[np.arange(samples), chosen_B].mean())


def _resampled(values_STU: Floats, rng: np.random.Generator, samples: int) -> Floats:
    """Return means (B, S), each over trials drawn with replacement and units with random weights (Rubin 1981)."""
    _, trials, units = values_STU.shape
    weight_BT = rng.multinomial(trials, np.full(trials, 1 / trials), samples) / trials
    weight_BU = rng.standard_exponential((samples, units))
    weight_BU /= weight_BU.sum(axis=1, keepdims=True)
    means: Floats = np.stack([((weight_BU @ value_TU.T) * weight_BT).sum(axis=1) for value_TU in values_STU], axis=1)
    return means
