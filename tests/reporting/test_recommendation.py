import math

import pandas as pd
import pytest

from transferlab.reporting.recommendation import Recommendation, recommend, seconds_alone


def comparison(rows: dict[str, tuple[float, str, float]], margin: float = math.nan, metric: str = "accuracy"):
    return pd.DataFrame(
        {"strategy": name, "metric": metric, "mean": mean, "standing": standing, "behind_at_most": behind,
         "decides": True, "margin": margin}
        for name, (mean, standing, behind) in rows.items()
    )  # fmt: skip


def cost(seconds: dict[str, float], features: float = 0.0):
    return pd.DataFrame({"strategy": s, "seconds": t, "feature_seconds": features} for s, t in seconds.items())


CLOSE = {"a": (0.95, "may be best", 0.01), "b": (0.94, "may be best", 0.03), "c": (0.92, "behind", 0.05)}


@pytest.mark.parametrize(
    ("margin", "expected", "reason"),
    [
        (math.nan, "b", "the cheapest of the 2 that may be the best"),
        (0.001, "b", "the cheapest of the 2 that may be the best"),
        (0.01, "a", "the cheapest that is surely within 1.0 points of the best"),
        (0.04, "b", "the cheapest that is surely within 4.0 points of the best"),
        (0.05, "c", "the cheapest that is surely within 5.0 points of the best"),
    ],
)
def test_the_cheapest_that_is_good_enough(margin, expected, reason):
    choice = recommend(comparison(CLOSE, margin), cost({"a": 30, "b": 20, "c": 10}))
    assert choice == Recommendation(expected, reason, is_sure=True)


def test_features_count_and_an_unknown_cost_is_the_dearest():
    costs = pd.concat([cost({"a": 30, "c": 1}), cost({"b": 20}, features=11)])
    assert recommend(comparison(CLOSE), costs).strategy == "a"
    assert recommend(comparison(CLOSE), cost({"a": 30})).strategy == "a"
    assert recommend(comparison(CLOSE), cost({"c": 30})).strategy == "a", "of equal costs the best mean"
    assert seconds_alone(costs).tolist() == [30, 1, 31]


def test_what_is_not_ranked_is_named_without_being_sure():
    rows = {name: (mean, "not ranked", math.nan) for name, mean in (("a", 0.9), ("b", 0.2))}
    costs = cost({"a": 2, "b": 1})
    choice = recommend(comparison(rows), costs)
    assert choice == Recommendation("a", "the best accuracy that was measured", is_sure=False)
    assert recommend(comparison(rows, metric="log_loss"), costs).strategy == "b", "lower is better"
    assert recommend(comparison(rows)[:1], costs).reason == "the only strategy that was run"


def test_one_surely_the_best():
    rows = CLOSE | {"b": (0.94, "behind", 0.03)}
    assert recommend(comparison(rows), cost({"a": 30, "b": 20})).reason == "surely the best"
