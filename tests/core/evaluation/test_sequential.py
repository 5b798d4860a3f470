"""The rule for stopping keeps its error, is exact, and stops those that differ early."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.core.evaluation.sequential import ERROR, Race, SequentialTrials, permutation_p, smallest_p
from transferlab.core.validation import FieldProblems

RULE = SequentialTrials(at_least=3, at_most=10)


def test_looks_come_in_rounds_and_the_last_is_at_the_end():
    assert RULE.looks == (3, 6, 9, 10)
    assert SequentialTrials(at_least=5, at_most=5).looks == (5,)


@given(st.integers(2, 8), st.integers(0, 20), st.integers(2, 6))
@settings(deadline=None, max_examples=40)
def test_levels_add_up_to_the_error_and_none_is_spent_in_vain(at_least, more, strategies):
    rule = SequentialTrials(at_least=at_least, at_most=at_least + more)
    levels, pairs = rule.levels(strategies), math.comb(strategies, 2)
    assert len(levels) == len(rule.looks)
    assert sum(levels) == pytest.approx(ERROR) or sum(levels) == 0
    for look, level in zip(rule.looks, levels, strict=True):
        assert level == 0 or smallest_p(look) <= level / pairs


def test_a_permutation_test_of_few_trials_is_exact():
    assert permutation_p(np.array([3.0, 4.0, 5.0]), np.array([0.0, 1.0, 2.0])) == pytest.approx(0.1)
    assert permutation_p(np.array([1.0, 1.0]), np.array([1.0, 1.0])) == 1
    assert smallest_p(3) == pytest.approx(0.1)


def race(means: dict[str, float], seed: int, sd: float = 0.5) -> Race:
    """Run a race to its end."""
    rng, running = np.random.default_rng(seed), Race(list(means), RULE)
    scores = {name: np.empty(0) for name in means}
    for number, trials in enumerate(RULE.looks):
        for name in running.running:
            scores[name] = np.append(scores[name], rng.normal(means[name], sd, trials - len(scores[name])))
        running.look(number, scores)
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


def test_equal_strategies_are_seldom_told_apart():
    rng, false = np.random.default_rng(5), 0
    for _ in range(60):
        false += bool(len(race({"a": 90.0, "b": 90.0, "c": 90.0}, seed=int(rng.integers(1e9))).undecided) < 3)
    assert false <= 8


def test_a_rule_that_makes_no_sense_is_refused():
    with pytest.raises(FieldProblems, match="at_most"):
        SequentialTrials(at_least=5, at_most=3)
    with pytest.raises(FieldProblems, match="stop"):
        SequentialTrials(stop="now")
