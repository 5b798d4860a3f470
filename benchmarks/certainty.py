"""Do prediction sets hold what they promise, and are strangers called unfamiliar? `python -m benchmarks.certainty`.

Reads what a run and two commands have left, so that it costs seconds:

- `--predictions`: the stored test predictions of a strategy. Its images are split 200 times at random into a half that
  prediction sets are calibrated on and one that they are measured on.
- `--known` and `--strangers`: tables that `kedro transferlab predict` has written (Parquet), of the test files and of
  images that show something else. Their `relative_distance` gives the area under the ROC curve, the share of strangers
  that pass where 95% of the known do (FPR95), and the shares that are flagged at the stored threshold.

Prints JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from transferlab.core.calibration.conformal import LEVEL, Method, calibrate, realised_coverage_sd
from transferlab.core.evaluation.contributions import Outcomes

RE_SPLITS = 200


def coverage(outcomes: Outcomes, level: float) -> Iterator[dict[str, Any]]:
    """Yield, for each method, coverage and size of sets over random halves of the test images of the first trial."""
    p_NK, truth_N = outcomes.p_TNK[0], outcomes.truth_N
    half, rng = len(truth_N) // 2, np.random.default_rng(0)
    orders = [rng.permutation(len(truth_N)) for _ in range(RE_SPLITS)]
    for method in get_args(Method):
        held, sizes, singles = [], [], []
        for order in orders:
            ours, rest = order[:half], order[half:]
            is_in_NK = calibrate(p_NK[ours], truth_N[ours], level, method).of(p_NK[rest])
            held.append(is_in_NK[np.arange(len(rest)), truth_N[rest]].mean())
            sizes.append(is_in_NK.sum(axis=1).mean())
            singles.append((is_in_NK.sum(axis=1) == 1).mean())
        yield {
            "method": method,
            "level": level,
            "calibrated_on": half,
            "measured_on": len(truth_N) - half,
            "coverage": float(np.mean(held)),
            "coverage_sd": float(np.std(held, ddof=1)),
            "expected_sd_of_calibration_alone": realised_coverage_sd(half, level),
            "set_size": float(np.mean(sizes)),
            "single_class": float(np.mean(singles)),
        }


def strangers(known: pd.DataFrame, strange: pd.DataFrame) -> dict[str, Any]:
    """Say how well relative distance tells strangers from known images."""
    near, far = (table["relative_distance"].dropna().to_numpy(float) for table in (known, strange))
    is_strange = np.repeat([0, 1], [len(near), len(far)])
    return {
        "known": len(near),
        "strangers": len(far),
        "auroc": float(roc_auc_score(is_strange, np.concatenate([near, far]))),
        "fpr95": float((far <= np.quantile(near, 0.95)).mean()),
        "flagged_known": float((near > 1).mean()),
        "flagged_strangers": float((far > 1).mean()),
    }


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=Path)
    parser.add_argument("--known", type=Path)
    parser.add_argument("--strangers", type=Path)
    parser.add_argument("--level", type=float, default=LEVEL)
    given = parser.parse_args()
    found: dict[str, Any] = {}
    if given.predictions:
        found["coverage"] = list(coverage(Outcomes.of(pd.read_parquet(given.predictions)), given.level))
    if given.known and given.strangers:
        found["strangers"] = strangers(pd.read_parquet(given.known), pd.read_parquet(given.strangers))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
