import math

import pandas as pd
import pytest

from transferlab.reporting.gaps import gap_between, told_apart
from transferlab.reporting.verdict import verdict


def tables(rows: dict[str, tuple], seconds: dict[str, float], gaps: list[tuple] = (), trials=3, metric="accuracy"):
    """Comparison, differences and cost.

    `rows` gives (mean, standing, behind at most), `gaps` (strategy, versus, difference, low, high).
    """
    comparison = pd.DataFrame(
        {"strategy": s, "metric": metric, "mean": mean, "low": mean - 0.01, "high": mean + 0.01, "sd": 0.0,
         "trials": trials, "test_images": 400, "selection": "last", "low_images": mean - 0.03,
         "high_images": mean + 0.03, "standing": standing, "behind_at_most": behind, "corrected": math.nan,
         "decides": True, "margin": math.nan, "groups": 0, "splits": 1, "splitting": "one split"}
        for s, (mean, standing, behind) in rows.items()
    )  # fmt: skip
    keys = ["strategy", "versus", "difference", "low_images", "high_images"]
    needed = {"target": 0.01, "images_needed": 1234, "trials_needed": math.inf, "images_for_power": 2600}
    found = [dict(zip(keys, gap, strict=True)) | {"metric": metric, "trials": trials} | needed for gap in gaps]
    differences = pd.DataFrame(found, columns=[*keys, "metric", "trials", *needed])
    cost = pd.DataFrame({"strategy": s, "trial": 0, "seconds": t, "feature_seconds": 0.0} for s, t in seconds.items())
    return comparison, differences, cost


TIED = {"a": (0.95, "may be best", 0.008), "b": (0.94, "may be best", 0.014), "c": (0.75, "behind", 0.25)}


def test_the_first_words_say_what_to_do_at_what_loss_and_price():
    answer = verdict(*tables(TIED, {"a": 43, "b": 9, "c": 1}, [("a", "b", 0.01, -0.01, 0.03)]))
    assert answer.headline == "Use b: no measurable loss (at most 1.4 points, 95%), 9 s in place of 43 s a trial."
    assert (answer.recommended, answer.leader, answer.clear) == ("b", "a", False), "c is cheaper, but behind"
    assert (answer.rivals, answer.cheapest) == (("b",), "b")


def test_a_clear_best_is_said_to_be():
    rows = {"b": (0.90, "behind", 0.08), "a": (0.95, "may be best", 0.0)}
    answer = verdict(*tables(rows, {"a": 60, "b": 20}, [("b", "a", -0.05, -0.08, -0.02)]))
    assert answer.headline == "Use a: clearly the best, 5.0 points ahead of b, 1 min a trial."
    assert (answer.leader, answer.clear, answer.rivals, answer.recommended) == ("a", True, (), "a")
    text = " ".join(answer.sentences)
    assert "A gets 95.0% [92.0, 98.0] of 400 test images right: the mean and its 95% interval over 3 trials and" in text
    assert "(over trials alone [94.0, 96.0]), selection: last" in text
    assert "Surely behind it: b \N{MINUS SIGN}5.0 points [\N{MINUS SIGN}8.0, \N{MINUS SIGN}2.0]" in text
    assert "3.0 times as long as the cheapest strategy, b" in text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        ({"a": 10, "b": 20}, "alone, takes 10 s, less than any other strategy does."),
        ({"a": 10, "b": 10}, "alone, takes 10 s, no more than any other strategy does."),
        ({"a": 10}, "alone, takes 10 s."),
    ],
)
def test_the_cost_is_compared_with_what_is_known(seconds, said):
    rows = {"b": (0.90, "behind", 0.08), "a": (0.95, "may be best", 0.0)}
    sentences = verdict(*tables(rows, seconds, [("b", "a", -0.05, -0.08, -0.02)])).sentences
    assert f"One trial of a, {said}" in sentences


def test_a_loss_that_may_be_large_is_not_called_none():
    few = {"a": (0.95, "may be best", 0.2), "b": (0.90, "may be best", 0.3)}
    answer = verdict(*tables(few, {"a": 43, "b": 9}, [("a", "b", 0.05, -0.2, 0.3)]))
    told = "not told apart from the best, which says little here (at most 30.0 points, 95%)"
    assert answer.headline == f"Use b: {told}, 9 s in place of 43 s a trial."


def test_the_best_of_those_ranked_is_not_called_the_best_of_all():
    rows = {"lucky": (0.99, "not ranked", math.nan), "a": (0.95, "may be best", 0.0), "b": (0.90, "behind", 0.08)}
    answer = verdict(*tables(rows, {"a": 60, "b": 20}, [("b", "a", -0.05, -0.08, -0.02)]))
    assert answer.headline.startswith("Use a: clearly the best of those ranked, 5.0 points ahead of b")
    assert "A has the best mean accuracy of those ranked, and none of the others may be the best." in answer.sentences


def test_one_that_takes_hardly_longer_takes_about_as_long():
    rows = {"b": (0.90, "behind", 0.08), "a": (0.95, "may be best", 0.0)}
    answer = verdict(*tables(rows, {"a": 61, "b": 60}, [("b", "a", -0.05, -0.08, -0.02)]))
    assert "about as long as the cheapest strategy, b" in " ".join(answer.sentences)


def test_who_is_surely_not_the_best_need_not_be_surely_behind_the_leader():
    rows = {"a": (0.95, "may be best", 0.02), "b": (0.94, "may be best", 0.02), "c": (0.90, "behind", 0.1)}
    gaps = [("a", "b", 0.01, -0.03, 0.05), ("a", "c", 0.05, -0.01, 0.11), ("c", "b", -0.04, -0.06, -0.02)]
    said = verdict(*tables(rows, {"a": 3, "b": 2, "c": 1}, gaps)).sentences
    assert "Surely not the best: c, \N{MINUS SIGN}4.0 points [\N{MINUS SIGN}6.0, \N{MINUS SIGN}2.0] against b." in said
    assert not any("Surely behind" in sentence for sentence in said), "its interval against a includes 0"


def test_where_lower_is_better_behind_is_above():
    rows = {"a": (0.30, "may be best", 0.0), "b": (0.40, "behind", 0.2)}
    said = verdict(*tables(rows, {"a": 3, "b": 2}, [("b", "a", 0.10, 0.05, 0.15)], metric="log_loss")).sentences
    assert "Surely behind it: b +0.100 [+0.050, +0.150]." in said


def test_a_leader_that_is_the_cheapest_is_recommended_with_what_it_may_lose():
    answer = verdict(*tables(TIED, {"a": 5, "b": 9, "c": 1}))
    assert answer.headline == (
        "Use a: the best mean accuracy, and the cheapest of the 2 that may be the best (at most 0.8 points behind the "
        "best, 95%), 5 s a trial."
    )


def test_with_a_margin_the_cheapest_within_it_is_recommended_even_behind_the_best():
    rows = {"a": (0.95, "may be best", 0.0), "b": (0.945, "behind", 0.009), "c": (0.75, "behind", 0.25)}
    comparison, differences, cost = tables(rows, {"a": 400, "b": 9, "c": 1})
    answer = verdict(comparison.assign(margin=0.01), differences, cost)
    assert answer.recommended == "b"
    assert answer.headline == (
        "Use b: the cheapest that is surely within 1.0 points of the best (at most 0.9 points behind it, 95%), 9 s in "
        "place of 6 min 40 s a trial."
    )


@pytest.mark.parametrize(
    ("images", "trials", "says"),
    [
        (1234, math.inf, "more seeds do not help; about 1,300 test images would (about 2,600 to detect 1.0 points"),
        (math.inf, 12, "more test images do not help; about 12 trials would"),
        (900, 12, "it takes about 900 test images or about 12 trials"),
        (math.inf, math.inf, "it takes both"),
    ],
)
def test_it_says_what_would_make_the_answer_clearer(images, trials, says):
    comparison, differences, cost = tables(TIED, {"a": 43, "b": 9, "c": 1}, [("b", "a", -0.01, -0.03, 0.01)])
    differences = differences.assign(images_needed=float(images), trials_needed=float(trials))
    assert says in " ".join(verdict(comparison, differences, cost).sentences)
    clear = differences.assign(low_images=-0.015, high_images=-0.005)
    assert "To know" not in " ".join(verdict(comparison, clear, cost).sentences)


def test_the_best_mean_is_corrected_for_having_been_chosen():
    comparison, differences, cost = tables(TIED, {"a": 43, "b": 9, "c": 1})
    comparison.loc[0, "corrected"] = 0.943
    text = " ".join(verdict(comparison, differences, cost).sentences)
    assert "The best of 3 means flatters its strategy: corrected for having been chosen, a gets 94.3%." in text


def test_another_metric_may_decide():
    rows = {"a": (0.30, "behind", 0.2), "b": (0.15, "may be best", 0.0)}
    answer = verdict(*tables(rows, {"a": 1, "b": 2}, [("a", "b", 0.15, 0.1, 0.2)], metric="log_loss"))
    assert answer.headline == "Use b: clearly the best, 0.150 ahead of a, 2 s a trial."
    assert "B gets log loss 0.150 [0.120, 0.180] on 400 test images" in " ".join(answer.sentences)


@pytest.mark.parametrize(
    ("low", "high", "trials", "apart"),
    [(0.1, 0.2, 3, True), (-0.2, -0.1, 5, True), (-0.1, 0.1, 3, False), (0.0, 0.1, 3, False), (0.1, 0.2, 2, False),
     (math.nan, math.nan, 3, False)],
)  # fmt: skip
def test_an_interval_tells_apart_when_it_excludes_zero_and_trials_are_enough(low, high, trials, apart):
    assert told_apart(low, high, trials) == apart


@pytest.mark.parametrize("trials", [1, 2])
def test_too_few_trials_rank_nothing(trials):
    rows = dict.fromkeys(("a", "b"), (0.9, "not ranked", math.nan))
    answer = verdict(*tables(rows, {"a": 1, "b": 2}, trials=trials))
    assert (answer.leader, answer.recommended, answer.clear) == (None, None, False)
    assert "one trial never ranks anything, nor do two" in answer.headline
    assert answer.cheapest == "a"


def test_a_strategy_with_few_trials_is_left_out_of_the_ranking_and_named():
    answer = verdict(*tables({"once": (0.99, "not ranked", math.nan), **TIED}, {"once": 1, "a": 1, "b": 2, "c": 3}))
    assert answer.leader == "a"
    assert "Once has fewer than three trials and is not ranked" in " ".join(answer.sentences)


def test_one_strategy_is_not_compared():
    answer = verdict(*tables({"a": (0.9, "not ranked", math.nan)}, {"a": 5.0}))
    assert answer.headline == "Only a was run, so there is nothing to compare."


def test_different_selection_rules_are_pointed_out():
    comparison, differences, cost = tables(TIED, {"a": 1, "b": 2, "c": 3})
    comparison.loc[0, "selection"] = "best validation accuracy"
    text = " ".join(verdict(comparison, differences, cost).sentences)
    assert "different rules (best validation accuracy and last)" in text


def test_without_a_metric_that_decides_the_error_says_what_to_do():
    comparison, differences, cost = tables(TIED, {"a": 1})
    with pytest.raises(ValueError, match="no row that decides: run the evaluation"):
        verdict(comparison[:0], differences, cost)


def test_simulated_strategies_are_told_as_their_tables_say(example):
    answer = verdict(example.comparison, example.differences, example.cost)
    rows = example.comparison.query("metric == 'accuracy'").set_index("strategy")
    assert rows.loc[[answer.leader, *answer.rivals, answer.recommended], "standing"].eq("may be best").all()
    gap = gap_between(example.differences, "scratch", "fine_tuning")
    assert gap.value == -gap_between(example.differences, "fine_tuning", "scratch").value
    assert gap.low <= gap.value <= gap.high
    assert math.isnan(gap_between(example.differences, "scratch", "unknown").value)
