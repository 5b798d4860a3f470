"""The answer in words: which strategy, by how much, how sure, at what cost. It claims no more than the intervals do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from transferlab.reporting.wording import (
    capital,
    count,
    difference,
    duration,
    enumerate_words,
    interval,
    number,
    signed_interval,
    times,
    title,
)


@dataclass(frozen=True)
class Verdict:
    """What may be said about the strategies.

    Attributes:
        headline: the answer in one sentence.
        sentences: by how much, how sure, at what cost, and what the answer does not cover.
        leader: the strategy with the highest mean accuracy; None when nothing may be ranked.
        clear: the leader's interval over trials and images excludes 0 against every other ranked strategy.
        rivals: the strategies that are not told apart from the leader.
        cheapest: the cheapest of the leader and its rivals (of all strategies when nothing may be ranked).
    """

    headline: str
    sentences: tuple[str, ...]
    leader: str | None
    clear: bool
    rivals: tuple[str, ...]
    cheapest: str | None


@dataclass(frozen=True)
class Gap:
    """A paired difference in accuracy, `strategy - versus`, with its 95% interval over trials and test images."""

    strategy: str
    versus: str
    value: float
    low: float
    high: float

    @property
    def told_apart(self) -> bool:
        """Whether the interval excludes 0."""
        return told_apart(self.low, self.high)

    def __str__(self) -> str:
        """The difference and its interval in words."""
        bounds = signed_interval(self.low, self.high, "accuracy")
        return f"{difference(self.value, 'accuracy')} {bounds or '(no interval)'}"


def told_apart(low: float, high: float) -> bool:
    """Whether the interval of a difference excludes 0; a missing one (NaN) does not."""
    return low > 0 or high < 0


def seconds_alone(cost: pd.DataFrame) -> pd.Series:
    """What each trial (row) costs by itself: its training, and the features it may share with others, in seconds."""
    return cost["seconds"] + cost["feature_seconds"]


def verdict(comparison: pd.DataFrame, differences: pd.DataFrame, cost: pd.DataFrame) -> Verdict:
    """Say which strategy is best by test accuracy, by how much, how sure, and at what cost.

    "Clearly better" needs the paired 95% interval over trials and test images to exclude 0 against every other ranked
    strategy. A strategy with one trial is never ranked.

    Args:
        comparison: the comparison table; its accuracy rows decide.
        differences: the differences table; a pair may stand in either direction, and a missing pair is not told apart.
        cost: the cost table; a strategy's cost is that of one trial, alone: the mean over its trials.

    Raises:
        ValueError: the comparison table has no accuracy row.
    """
    accuracy = comparison[comparison["metric"] == "accuracy"].sort_values("mean", ascending=False, kind="stable")
    if accuracy.empty:
        raise ValueError("the comparison table has no row of metric 'accuracy': run the evaluation of a strategy first")
    accuracy = accuracy.set_index("strategy")
    seconds = seconds_alone(cost).groupby(cost["strategy"]).mean().reindex(accuracy.index)
    ranked = accuracy[accuracy["trials"] > 1]
    if len(ranked) < 2:
        return _unranked(accuracy, seconds)
    leader, *others = ranked.index
    gaps = [gap_between(differences, leader, other) for other in others]
    rivals = tuple(gap.versus for gap in gaps if not (gap.told_apart and gap.value > 0))
    cheapest = _cheapest(seconds, [leader, *rivals])
    headline, how_sure = _clear(leader, gaps) if not rivals else _tied(leader, gaps, rivals, cheapest)
    sentences = [_accuracy(ranked, leader), *how_sure, *_costs(seconds, leader, rivals, cheapest), *_single(accuracy)]
    return Verdict(headline, (*sentences, *_selections(ranked)), leader, not rivals, rivals, cheapest)


def gap_between(differences: pd.DataFrame, strategy: str, versus: str) -> Gap:
    """The accuracy difference `strategy - versus`, from either direction of the table; NaN when it has neither."""
    rows = differences[differences["metric"] == "accuracy"]
    for first, second, sign in ((strategy, versus, 1), (versus, strategy, -1)):
        found = rows[(rows["strategy"] == first) & (rows["versus"] == second)]
        if len(found):
            row = found.iloc[0]
            low, high = sorted((sign * row["low_images"], sign * row["high_images"]))
            return Gap(strategy, versus, sign * row["difference"], low, high)
    return Gap(strategy, versus, float("nan"), float("nan"), float("nan"))


def _clear(leader: str, gaps: Sequence[Gap]) -> tuple[str, list[str]]:
    nearest = min(gaps, key=lambda gap: gap.value)
    points = difference(nearest.value, "accuracy").removeprefix("+")
    headline = f"{capital(title(leader))} is clearly the best: {points} more accurate than {title(nearest.versus)}."
    leads = enumerate_words([f"{gap} over {title(gap.versus)}" for gap in gaps])
    sure = (
        f"Its lead is {leads}. Each 95% interval, paired over trials and test images together, excludes 0, so the lead "
        "should hold on new photographs of the same kind."
    )
    return headline, [sure]


def _tied(leader: str, gaps: Sequence[Gap], rivals: Sequence[str], cheapest: str | None) -> tuple[str, list[str]]:
    beaten = [gap for gap in gaps if gap.versus not in rivals]
    names = enumerate_words([title(name) for name in rivals])
    headline = f"No clear winner: {title(leader)} has the highest mean accuracy, but is not told apart from {names}"
    headline += f"; the cheapest of these is {title(cheapest)}." if cheapest else "."
    open_gaps = enumerate_words([f"{gap} over {title(gap.versus)}" for gap in gaps if gap.versus in rivals])
    sentences = [f"The 95% interval, paired over trials and test images together, includes 0: {open_gaps}."]
    if beaten:
        won = enumerate_words([f"{title(gap.versus)} ({gap})" for gap in beaten])
        sentences.append(f"It is clearly better than {won}.")
    return headline, sentences


def _accuracy(ranked: pd.DataFrame, name: str) -> str:
    row = ranked.loc[name]
    bounds = interval(row["low"], row["high"], "accuracy")
    return (
        f"{capital(title(name))} gets {number(row['mean'], 'accuracy')} {bounds} of "
        f"{count(row['test_images'], 'test image')} right: the mean and its 95% interval over "
        f"{count(row['trials'], 'trial')}, selection: {row['selection']}."
    )


def _cheapest(seconds: pd.Series, names: Sequence[str]) -> str | None:
    known = seconds.loc[list(names)].dropna()
    return str(known.idxmin()) if len(known) else None


def _costs(seconds: pd.Series, leader: str, rivals: Sequence[str], cheapest: str | None) -> list[str]:
    if cheapest is None:
        return []
    if rivals:
        takes = f"{duration(seconds[cheapest])} for one trial, alone{_against(seconds, leader, cheapest)}"
        return [f"Of those not told apart, {title(cheapest)} is the cheapest: {takes}."]
    overall = _cheapest(seconds, list(seconds.index))
    cost = f"One trial of it, alone, takes {duration(seconds[leader])}"
    if overall in (None, leader):
        return [f"{cost}, less than any other strategy's."]
    ratio = f"{times(seconds[leader] / seconds[overall])} as long as" if seconds[overall] > 0 else "longer than"
    return [f"{cost}, {ratio} the cheapest strategy, {title(str(overall))}."]


def _against(seconds: pd.Series, leader: str, cheapest: str) -> str:
    if leader == cheapest:
        return ", and it has the highest mean, too"
    if pd.isna(seconds[leader]):
        return ""
    return f", against {duration(seconds[leader])} for {title(leader)}"


def _selections(ranked: pd.DataFrame) -> list[str]:
    rules = list(dict.fromkeys(ranked["selection"]))
    if len(rules) < 2:
        return []
    return [
        f"The strategies' checkpoints were selected by different rules ({enumerate_words(rules)}): compare with care."
    ]


def _single(accuracy: pd.DataFrame) -> list[str]:
    single = [title(str(name)) for name in accuracy.index[accuracy["trials"] < 2]]
    if not single:
        return []
    verb = "has one trial and is" if len(single) == 1 else "have one trial each and are"
    return [f"{capital(enumerate_words(single))} {verb} not ranked: one trial never ranks anything."]


def _unranked(accuracy: pd.DataFrame, seconds: pd.Series) -> Verdict:
    """One strategy only, or too few with two trials or more: state what was measured, rank nothing."""
    alone = len(accuracy) == 1
    headline = (
        f"Only {title(str(accuracy.index[0]))} was run, so there is nothing to compare."
        if alone
        else "No strategy can be called the best: one trial never ranks anything."
    )
    measured = [_measured(str(name), row, seconds.loc[str(name)]) for name, row in accuracy.iterrows()]
    cure = [] if alone else ["Run at least two trials of each strategy, better five, to compare them."]
    return Verdict(headline, (*measured, *cure), None, False, (), _cheapest(seconds, list(accuracy.index)))


def _measured(name: str, row: pd.Series, seconds: float) -> str:
    value = f"{number(row['mean'], 'accuracy')} {interval(row['low'], row['high'], 'accuracy')}".rstrip()
    of_what = f"{count(row['trials'], 'trial')}, selection: {row['selection']}"
    takes = f", {duration(seconds)} for one trial, alone" if pd.notna(seconds) else ""
    return f"{capital(title(name))}: {value} of {count(row['test_images'], 'test image')} right ({of_what}){takes}."
