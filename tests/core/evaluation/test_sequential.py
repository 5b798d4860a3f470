"""The rule for stopping keeps its error, is exact, and stops those that differ early."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.core.evaluation.sequential import ERROR, Race, SequentialTrials, permutation_p, smallest_p
from transferlab.core.validation import FieldProblems

RULE = SequentialTrials(at_least=3, at_most=10)


def test_looks_begin_as_soon_as_they_can_tell_and_end_with_the_last_trial():
    assert RULE.looks(2) == (5, 7, 10)
    assert RULE.looks(4) == (6, 8, 10)
    assert RULE.looks(7) == (7, 8, 10)
    assert SequentialTrials(at_least=8, at_most=9).looks(2) == (8, 9)
    assert SequentialTrials(at_least=3, at_most=3).looks(2) == ()


@given(st.integers(2, 8), st.integers(0, 20), st.integers(2, 6))
@settings(deadline=None, max_examples=40)
def test_no_look_is_in_vain(at_least, more, strategies):
    rule = SequentialTrials(at_least=at_least, at_most=at_least + more)
    looks, pairs = rule.looks(strategies), math.comb(strategies, 2)
    assert list(looks) == sorted(set(looks))
    for look in looks:
        assert at_least <= look <= at_least + more
        assert smallest_p(look) <= ERROR / len(looks) / pairs
    assert not looks or looks[-1] == at_least + more


def test_a_permutation_test_of_few_trials_is_exact():
    assert permutation_p(np.array([3.0, 4.0, 5.0]), np.array([0.0, 1.0, 2.0])) == pytest.approx(0.1)
    assert permutation_p(np.array([1.0, 1.0]), np.array([1.0, 1.0])) == 1
    assert smallest_p(3) == pytest.approx(0.1)


def race(means: dict[str, float], seed: int, sd: float = 0.5) -> Race:
    """Run a race to its end."""
    rng, running = np.random.default_rng(seed), Race(list(means), RULE)
    scores = {name: np.empty(0) for name in means}
    for trials in RULE.looks(len(means)):
        for name in running.running:
            scores[name] = np.append(scores[name], rng.normal(means[name], sd, trials - len(scores[name])))
        running.look(scores)
        if not running.running:
            break
    return running


def test_what_is_far_behind_stops_and_what_is_close_goes_on():
    ended = race({"frozen": 94.0, "tuned": 94.1, "scratch": 67.0}, seed=0)
    assert ended.undecided == [("frozen", "tuned")]
    told = {row[1:3]: row.trials for row in ended.looks if row.decided}
    assert told == {("frozen", "scratch"): 6, ("tuned", "scratch"): 6}
    last = [row for row in ended.looks if row.trials == 10]
    assert [row[1:3] for row in last] == [("frozen", "tuned")]
    assert ended.running == ["frozen", "tuned"]
    assert ended.behind == {"scratch"}


def test_equal_strategies_are_seldom_told_apart():
    rng, false = np.random.default_rng(5), 0
    for _ in range(60):
        false += bool(race({"a": 90.0, "b": 90.0, "c": 90.0}, seed=int(rng.integers(1e9))).behind)
    assert false <= 8


def test_where_lower_is_better_the_higher_one_stops_and_those_behind_are_compared_no_more():
    scores = {"a": np.full(6, 0.2), "b": np.full(6, 0.9), "c": np.full(6, 0.8)}
    running = Race(list(scores), RULE, lower_is_better=True)
    running.look({name: values + np.linspace(0, 0.01, 6) for name, values in scores.items()})
    assert running.behind == {"b", "c"}
    assert running.running == []


def test_a_rule_that_makes_no_sense_is_refused():
    with pytest.raises(FieldProblems, match="at_most"):
        SequentialTrials(at_least=5, at_most=3)
    with pytest.raises(FieldProblems, match="stop"):
        SequentialTrials(stop="now")
