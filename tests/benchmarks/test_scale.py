"""The simulated schedules keep the bounds that every list schedule keeps."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scale import makespan, schedules

TRIALS = st.lists(st.floats(0.01, 100), min_size=1, max_size=40)


@given(TRIALS, st.integers(1, 8))
def test_a_schedule_is_between_the_ideal_and_grahams_bound(trials, workers):
    ideal = max(max(trials), sum(trials) / workers)
    assert ideal <= makespan(trials, workers) * (1 + 1e-9)
    assert makespan(trials, workers) <= (2 - 1 / workers) * ideal * (1 + 1e-9)


@given(st.lists(TRIALS, min_size=1, max_size=5), st.integers(1, 8))
def test_one_queue_is_never_slower_than_strategy_by_strategy_on_one_worker(work, workers):
    alone = schedules(work, 1, 0.0)
    assert max(alone.values()) <= min(alone.values()) * (1 + 1e-9)
    assert schedules(work, workers, 0.0)["longest first"] <= sum(map(sum, work)) * (1 + 1e-9)
