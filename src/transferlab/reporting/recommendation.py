"""Which strategy to use: the cheapest that is good enough, as the stored tables say it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from transferlab.reporting.wording import LOWER_IS_BETTER, amount, title


@dataclass(frozen=True)
class Recommendation:
    """A strategy to use.

    Attributes:
        strategy: its name.
        reason: why, as words that go on after its name.
        is_sure: whether it rests on a comparison; False where one strategy was run, or too few trials of each.
    """

    strategy: str
    reason: str
    is_sure: bool


def recommend(comparison: pd.DataFrame, cost: pd.DataFrame) -> Recommendation:
    """Recommend the cheapest strategy that is surely within the margin of the best.

    Without a margin, or where no strategy is surely within it, recommend the cheapest of those that may be the best. A
    strategy of unknown cost counts as the dearest.

    Args:
        comparison: the comparison table, with the margin (`report.margin`).
        cost: the cost table; a strategy's cost is that of one trial, alone: the mean over its trials.

    Raises:
        ValueError: no row of the comparison table decides.
    """
    rows = deciding(comparison)
    metric, margin = rows["metric"].iloc[0], rows["margin"].iloc[0]
    seconds = seconds_of(cost).reindex(rows.index)
    ranked = rows[rows["standing"] != "not ranked"]
    if ranked.empty:
        reason = "the only strategy that was run" if len(rows) == 1 else f"the best {title(metric)} that was measured"
        return Recommendation(str(rows.index[0]), reason, is_sure=False)
    within = ranked[ranked["behind_at_most"] <= margin]
    good = within if len(within) else ranked[ranked["standing"] == "may be best"]
    # Of equally cheap ones the first, which has the best mean.
    chosen = seconds[good.index].fillna(float("inf")).idxmin()
    if len(within):
        reason = f"the cheapest that is surely within {amount(margin, metric)} of the best"
    elif len(good) == 1:
        reason = "surely the best"
    else:
        reason = f"the cheapest of the {len(good)} that may be the best"
    return Recommendation(str(chosen), reason, is_sure=True)


def deciding(comparison: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the metric that decides, by strategy, the best mean first.

    Raises:
        ValueError: there are none.
    """
    rows = comparison[comparison["decides"].astype(bool)]
    if rows.empty:
        raise ValueError("the comparison table has no row that decides: run the evaluation of a strategy first")
    lower_first = rows["metric"].iloc[0] in LOWER_IS_BETTER
    ordered: pd.DataFrame = rows.sort_values("mean", ascending=lower_first, kind="stable").set_index("strategy")
    return ordered


def seconds_alone(cost: pd.DataFrame) -> pd.Series:
    """Return what each trial (row) costs by itself: its training, and the features it may share, in seconds."""
    return cost["seconds"] + cost["feature_seconds"]


def seconds_of(cost: pd.DataFrame) -> pd.Series:
    """Return what one trial of each strategy costs by itself: the mean over its trials, in seconds."""
    return seconds_alone(cost).groupby(cost["strategy"]).mean()
