"""The answer in words: which strategy to use, how sure that is, at what cost. It claims no more than the tables do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from transferlab.reporting.evidence import alone, clearer, explained, has_own_test_images, over, unstable
from transferlab.reporting.gaps import Gap, gap_between
from transferlab.reporting.recommendation import Recommendation, deciding, recommend, seconds_of
from transferlab.reporting.wording import (
    amount,
    capital,
    count,
    duration,
    enumerate_words,
    interval,
    number,
    times_as_long,
    title,
    widest,
)

SMALL = 0.05  # of a metric; "no measurable loss" is no finding where more than this may be lost


@dataclass(frozen=True)
class Verdict:
    """What may be said about the strategies.

    Attributes:
        headline: what to do, in one sentence.
        sentences: why, how sure, at what cost, and what the answer does not cover.
        leader: the strategy with the best mean; None when nothing may be ranked.
        clear: no other strategy may be the best.
        rivals: the others that may be the best.
        cheapest: the cheapest of the leader and its rivals (of all strategies when nothing may be ranked).
        recommended: the strategy to use; None when nothing may be ranked.
    """

    headline: str
    sentences: tuple[str, ...]
    leader: str | None
    clear: bool
    rivals: tuple[str, ...]
    cheapest: str | None
    recommended: str | None


def verdict(comparison: pd.DataFrame, differences: pd.DataFrame, cost: pd.DataFrame) -> Verdict:
    """Say which strategy to use, why, how sure that is, and at what cost.

    Which strategies may be the best, and how far behind it each may be, are one simultaneous 95% statement over trials
    and test images. Strategies with fewer than three trials are not ranked.

    Args:
        comparison: the comparison table; the rows of the metric that decides (`report.metric`) are used.
        differences: the differences table; a pair may stand in either direction, or be missing.
        cost: the cost table; a strategy's cost is that of one trial, alone: the mean over its trials.

    Raises:
        ValueError: no row of the comparison table decides.
    """
    rows = deciding(comparison)
    seconds = seconds_of(cost).reindex(rows.index)
    ranked = rows[rows["standing"] != "not ranked"]
    if ranked.empty:
        return _unranked(rows, seconds)
    leader, choice = str(ranked.index[0]), recommend(comparison, cost)
    may_be_best = ranked.index[ranked["standing"] == "may be best"]
    rivals = tuple(str(name) for name in may_be_best if name != leader)
    among = "" if len(ranked) == len(rows) else " of those ranked"
    sentences = [
        _measured_best(ranked, leader, rivals, among),
        *_distances(ranked, differences, leader, rivals),
        *(_how_good(ranked, name) for name in dict.fromkeys((choice.strategy, leader))),
        *_luck(ranked, leader),
        *explained(ranked.loc[leader]),
        *unstable(ranked),
        *clearer(differences, ranked, leader, choice.strategy, rivals),
        *_costs(seconds, choice.strategy),
        *_not_ranked(rows),
        *_selections(ranked),
    ]
    cheapest = _cheapest(seconds, [leader, *rivals])
    headline = _headline(ranked, seconds, differences, choice, among)
    return Verdict(headline, tuple(sentences), leader, not rivals, rivals, cheapest, choice.strategy)


def _headline(
    ranked: pd.DataFrame, seconds: pd.Series, differences: pd.DataFrame, choice: Recommendation, among: str
) -> str:
    leader, name = str(ranked.index[0]), choice.strategy
    row = ranked.loc[name]
    metric, behind = str(row["metric"]), float(row["behind_at_most"])
    takes = "" if pd.isna(seconds[name]) else f", {duration(seconds[name])} a trial"
    if name != leader and pd.notna(seconds[leader]) and takes:
        takes = f", {duration(seconds[name])} in place of {duration(seconds[leader])} a trial"
    at_most = f"at most {amount(behind, metric)}" if behind < widest(metric) else "nobody knows how much"
    use = f"Use {title(name)}:"
    if name == leader and behind == 0 and len(ranked) > 1:
        gaps = [gap_between(differences, leader, str(other), metric) for other in ranked.index[1:]]
        nearest = min(gaps, key=lambda gap: abs(gap.value))
        ahead = f"{amount(abs(nearest.value), metric)} ahead of {title(nearest.versus)}"
        return f"{use} clearly the best{among}, {ahead}{takes}."
    if name == leader:
        return (
            f"{use} the best mean {title(metric)}{among}, and {choice.reason} ({at_most} behind the best, 95%){takes}."
        )
    if row["standing"] == "may be best":
        lost = "no measurable loss" if behind <= SMALL else "not told apart from the best, which says little here"
        return f"{use} {lost} ({at_most}, 95%){takes}."
    return f"{use} {choice.reason} ({at_most} behind it, 95%){takes}."


def _measured_best(ranked: pd.DataFrame, leader: str, rivals: Sequence[str], among: str) -> str:
    best = f"{capital(title(leader))} has the best mean {title(str(ranked['metric'].iloc[0]))}{among}"
    if not rivals:
        other = "none of the others" if among else "no other strategy"
        return f"{best}, and {other} may be the best."
    return f"{best}, but is not told apart from {enumerate_words([title(name) for name in rivals])}."


def _distances(ranked: pd.DataFrame, differences: pd.DataFrame, leader: str, rivals: Sequence[str]) -> list[str]:
    metric = str(ranked["metric"].iloc[0])
    others = [str(name) for name in ranked.index[1:]]
    gaps = {name: gap_between(differences, name, leader, metric) for name in others}
    close = [name for name in others if name in rivals]
    elsewhere = [name for name in others if name not in rivals and gaps[name].at_best >= 0]
    behind = [name for name in others if name not in (*close, *elsewhere)]
    said = []
    for words, names in (("Against it", close), ("Surely behind it", behind)):
        if names:
            said.append(f"{words}: {enumerate_words([f'{title(name)} {gaps[name]}' for name in names])}.")
    said += [_behind_another(differences, name, gaps[name]) for name in elsewhere]
    if said:
        said.append(
            f"Intervals (95%) are paired, over {over(ranked.loc[leader])}; which strategies may be the best is said of "
            "all pairs together."
        )
    return said


def _behind_another(differences: pd.DataFrame, name: str, to_leader: Gap) -> str:
    """Say of a strategy that is surely not the best, though not surely behind the leader, which one it is behind."""
    strategies = {*differences["strategy"], *differences["versus"]} - {name}
    gaps = [gap_between(differences, name, other, to_leader.metric) for other in sorted(strategies)]
    surest = min(gaps, key=lambda gap: math.inf if math.isnan(gap.at_best) else gap.at_best)
    return f"Surely not the best: {title(name)}, {surest} against {title(surest.versus)}."


def _how_good(rows: pd.DataFrame, name: str) -> str:
    row = rows.loc[name]
    metric = str(row["metric"])
    over_trials = "" if has_own_test_images(row) else interval(row["low"], row["high"], metric)
    return (
        f"{_level(name, row)}: the mean and its 95% interval over {over(row)}"
        f"{f' (over trials alone {over_trials})' if over_trials else ''}, selection: {row['selection']}."
    )


def _level(name: str, row: pd.Series) -> str:
    noun = "different test image" if has_own_test_images(row) else "test image"
    metric, images = str(row["metric"]), count(row["test_images"], noun)
    value = f"{number(row['mean'], metric)} {interval(row['low_images'], row['high_images'], metric)}".rstrip()
    gets = f"{value} of {images} right" if metric == "accuracy" else f"{title(metric)} {value} on {images}"
    return f"{capital(title(name))} gets {gets}"


def _luck(ranked: pd.DataFrame, leader: str) -> list[str]:
    metric, mean, corrected = (ranked.loc[leader, column] for column in ("metric", "mean", "corrected"))
    if pd.isna(corrected) or number(mean, metric) == number(corrected, metric):
        return []
    best = f"The best of {len(ranked)} means flatters its strategy"
    return [f"{best}: corrected for having been chosen, {title(leader)} gets {number(corrected, metric)}."]


def _cheapest(seconds: pd.Series, names: Sequence[str]) -> str | None:
    known = seconds.loc[list(names)].dropna()
    return str(known.idxmin()) if len(known) else None


def _costs(seconds: pd.Series, chosen: str) -> list[str]:
    if pd.isna(seconds[chosen]):
        return []
    others, overall = seconds.drop(chosen).dropna(), _cheapest(seconds, list(seconds.index))
    cost = f"One trial of {title(chosen)}, alone, takes {duration(seconds[chosen])}"
    if others.empty:
        return [f"{cost}."]
    if seconds[chosen] <= others.min():
        known = "" if len(others) == len(seconds) - 1 else " whose cost is known"
        than = "less than" if seconds[chosen] < others.min() else "no more than"
        return [f"{cost}, {than} any other strategy{known} does."]
    ratio = times_as_long(seconds[chosen] / seconds[overall]) if seconds[overall] > 0 else "longer than"
    return [f"{cost}, {ratio} the cheapest strategy, {title(str(overall))}."]


def _selections(ranked: pd.DataFrame) -> list[str]:
    rules = list(dict.fromkeys(ranked["selection"]))
    if len(rules) < 2:
        return []
    return [
        f"The strategies' checkpoints were selected by different rules ({enumerate_words(rules)}): compare with care."
    ]


def _not_ranked(rows: pd.DataFrame) -> list[str]:
    few = [title(str(name)) for name in rows.index[rows["standing"] == "not ranked"]]
    if not few:
        return []
    trials = "three trials" if rows["splitting"].eq("one split").all() else "three splits"
    verb = f"has fewer than {trials} and is" if len(few) == 1 else f"have fewer than {trials} each and are"
    return [f"{capital(enumerate_words(few))} {verb} not ranked: one trial never ranks anything, nor do two."]


def _unranked(rows: pd.DataFrame, seconds: pd.Series) -> Verdict:
    """State what was measured and rank nothing: one strategy only, or too few with three trials or more."""
    is_alone = len(rows) == 1
    headline = (
        f"Only {title(str(rows.index[0]))} was run, so there is nothing to compare."
        if is_alone
        else "No strategy can be called the best: one trial never ranks anything, nor do two."
    )
    measured = [_measured(str(name), row, seconds.loc[str(name)]) for name, row in rows.iterrows()]
    what = "trials" if rows["splitting"].eq("one split").all() else "splits"
    cure = [] if is_alone else [f"Run at least three {what} of each strategy, better five, to compare them."]
    sentences = (*measured, *explained(rows.iloc[0]), *cure)
    return Verdict(headline, sentences, None, False, (), _cheapest(seconds, list(rows.index)), None)


def _measured(name: str, row: pd.Series, seconds: float) -> str:
    of_what = f"{alone(row)}, selection: {row['selection']}"
    takes = f", {duration(seconds)} for one trial, alone" if pd.notna(seconds) else ""
    return f"{_level(name, row)} ({of_what}){takes}."
