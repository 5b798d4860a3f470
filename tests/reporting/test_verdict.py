import math

import pandas as pd
import pytest

from transferlab.reporting.verdict import gap_between, seconds_alone, told_apart, verdict


def tables(means: dict[str, float], gaps: list[tuple], seconds: dict[str, float], trials: int | dict[str, int] = 3):
    """Comparison, differences and cost from means, (strategy, versus, difference, low, high) and seconds."""
    n = trials if isinstance(trials, dict) else dict.fromkeys(means, trials)
    comparison = pd.DataFrame(
        {"strategy": s, "metric": "accuracy", "mean": m, "low": m - 0.01 if n[s] > 1 else math.nan,
         "high": m + 0.01 if n[s] > 1 else math.nan, "sd": 0.0, "trials": n[s], "test_images": 400, "selection": "last"}
        for s, m in means.items()
    )  # fmt: skip
    keys = ["strategy", "versus", "difference", "low_images", "high_images"]
    rows = [dict(zip(keys, gap, strict=True)) | {"metric": "accuracy", "trials": 3, "test_images": 400} for gap in gaps]
    differences = pd.DataFrame(rows, columns=[*keys, "metric", "low", "high", "trials", "test_images"])
    cost = pd.DataFrame({"strategy": s, "trial": 0, "seconds": t, "feature_seconds": 0.0} for s, t in seconds.items())
    return comparison, differences, cost


def test_clearly_better_when_every_interval_excludes_zero():
    gaps = [("a", "b", 0.05, 0.02, 0.08), ("c", "a", -0.2, -0.25, -0.15)]
    answer = verdict(*tables({"b": 0.9, "a": 0.95, "c": 0.75}, gaps, {"a": 60, "b": 20, "c": 30}))
    assert (answer.leader, answer.clear, answer.rivals) == ("a", True, ())
    assert answer.headline == "A is clearly the best: 5.0 points more accurate than b."
    text = " ".join(answer.sentences)
    assert "95.0% [94.0, 96.0] of 400 test images" in text
    assert "3 trials, selection: last" in text
    assert "+20.0 points [+15.0, +25.0] over c" in text, "a pair that stands the other way round is turned"
    assert "3.0 times as long as the cheapest strategy, b" in text


def test_not_told_apart_names_the_rivals_and_the_cheapest_of_them():
    gaps = [("a", "b", 0.01, -0.01, 0.03), ("a", "c", 0.2, 0.1, 0.3)]
    answer = verdict(*tables({"a": 0.95, "b": 0.94, "c": 0.75}, gaps, {"a": 60, "b": 20, "c": 1}))
    assert (answer.clear, answer.rivals, answer.cheapest) == (False, ("b",), "b"), "c is cheaper, but clearly worse"
    assert "clearly the best" not in answer.headline
    assert "not told apart from b; the cheapest of these is b" in answer.headline
    assert "clearly better than c" in " ".join(answer.sentences)


def test_features_count_towards_what_is_cheapest():
    comparison, differences, cost = tables({"a": 0.95, "b": 0.94}, [], {"a": 2.0, "b": 1.0})
    cost.loc[cost["strategy"] == "b", "feature_seconds"] = 8.0
    answer = verdict(comparison, differences, cost)
    assert answer.cheapest == "a"
    assert seconds_alone(cost).tolist() == [2.0, 9.0]


@pytest.mark.parametrize(
    ("low", "high", "apart"),
    [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False), (0.0, 0.1, False), (math.nan, math.nan, False)],
)
def test_an_interval_tells_apart_when_it_excludes_zero(low, high, apart):
    assert told_apart(low, high) == apart


@pytest.mark.parametrize("gaps", [[], [("a", "b", 0.05, math.nan, math.nan)]])
def test_a_missing_interval_tells_nothing_apart(gaps):
    answer = verdict(*tables({"a": 0.95, "b": 0.9}, gaps, {"a": 1, "b": 2}))
    assert answer.rivals == ("b",)
    assert not answer.clear


def test_an_interval_that_excludes_zero_on_the_other_side_is_no_win():
    answer = verdict(*tables({"a": 0.95, "b": 0.94}, [("a", "b", -0.05, -0.08, -0.02)], {"a": 1, "b": 2}))
    assert not answer.clear


def test_one_trial_never_ranks_anything():
    answer = verdict(*tables({"a": 0.99, "b": 0.1}, [("a", "b", 0.89, 0.8, 0.95)], {"a": 1, "b": 2}, trials=1))
    assert answer.leader is None
    assert "one trial never ranks anything" in answer.headline
    assert answer.cheapest == "a"
    assert not answer.clear


def test_a_strategy_with_one_trial_is_left_out_of_the_ranking_and_named():
    gaps = [("a", "b", 0.05, 0.02, 0.08)]
    means, trials = {"once": 0.99, "a": 0.95, "b": 0.9}, {"once": 1, "a": 3, "b": 3}
    answer = verdict(*tables(means, gaps, {"once": 1, "a": 1, "b": 2}, trials))
    assert answer.leader == "a"
    assert "Once has one trial and is not ranked" in answer.sentences[-1]


def test_one_strategy_is_not_compared():
    answer = verdict(*tables({"a": 0.9}, [], {"a": 5.0}))
    assert answer.headline == "Only a was run, so there is nothing to compare."


def test_different_selection_rules_are_pointed_out():
    comparison, differences, cost = tables({"a": 0.95, "b": 0.94}, [], {"a": 1, "b": 2})
    comparison.loc[0, "selection"] = "best validation accuracy"
    text = " ".join(verdict(comparison, differences, cost).sentences)
    assert "different rules (best validation accuracy and last)" in text


def test_without_accuracy_the_error_says_what_to_do():
    comparison, differences, cost = tables({"a": 0.9}, [], {"a": 1})
    with pytest.raises(ValueError, match="no row of metric 'accuracy': run the evaluation"):
        verdict(comparison[:0], differences, cost)


def test_simulated_equal_strategies_are_not_ranked(example):
    answer = verdict(example.comparison, example.differences, example.cost)
    assert not answer.clear
    gap = gap_between(example.differences, "scratch", "fine_tuning")
    assert gap.value == -gap_between(example.differences, "fine_tuning", "scratch").value
    assert gap.low <= gap.value <= gap.high
