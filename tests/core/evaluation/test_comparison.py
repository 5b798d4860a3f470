import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from transferlab.core.evaluation import comparison
from transferlab.core.evaluation.contributions import Outcomes
from transferlab.core.evaluation.design import Design
from transferlab.core.evaluation.pairing import DifferentImagesError

RNG = np.random.default_rng(0)


def metric_rows(strategy, values, metric="accuracy", selection="last epoch"):
    return pd.DataFrame(
        [
            {"strategy": strategy, "trial": trial, "metric": metric, "value": value, "selection": selection}
            for trial, value in enumerate(values)
        ]
    )


def outcomes(strategy, p_TN, truth_N=None):
    """What T trials said, from the probabilities of the first of two classes, the truth by default."""
    truth_N = np.zeros(p_TN.shape[1], dtype=int) if truth_N is None else truth_N
    paths = tuple(f"{i:04}.jpg" for i in range(p_TN.shape[1]))
    return Outcomes(strategy, tuple(range(len(p_TN))), paths, truth_N, np.stack([p_TN, 1 - p_TN], axis=-1))


def measured(*known):
    """The table `metrics` of what strategies said."""
    return pd.concat(
        metric_rows(each.strategy, each.contributions(metric).mean(axis=1), metric)
        for each in known
        for metric in ("accuracy", "log_loss")
    )


def skilled(strategy, right, trials=4, images=300, seed=0):
    """Trials that are right about as often as given, on images that are as hard for every strategy."""
    hardness_N, rng = np.random.default_rng(9).uniform(size=images), np.random.default_rng(seed)
    noise_TN = rng.normal(0, 0.03, (trials, images))
    return outcomes(strategy, np.where(hardness_N + noise_TN < right, 0.9, 0.2))


def test_one_trial_ranks_nothing():
    one, other = outcomes("a", np.array([[0.9, 0.2]])), outcomes("b", np.array([[0.2, 0.9]]))
    row = comparison.compare(metric_rows("a", [0.9]), [one]).iloc[0]
    assert (row["mean"], row["trials"], row["standing"]) == (0.9, 1, "not ranked")
    assert row[["low", "high", "sd", "behind_at_most", "corrected"]].isna().all()
    table = comparison.differences([one, other])
    assert table[["low", "high", "low_images", "high_images"]].isna().all(axis=None)


def test_one_trial_has_an_interval_over_images():
    one = outcomes("a", np.repeat([0.9, 0.2], [90, 10])[None])
    row = comparison.compare(metric_rows("a", [0.9]), [one]).iloc[0]
    wilson = stats.binomtest(90, 100).proportion_ci(0.95, method="wilson")
    assert (row["low_images"], row["high_images"]) == pytest.approx((wilson.low, wilson.high), abs=0.002)


def test_every_row_says_what_it_is():
    three, two = skilled("b", 0.8, 3, 153), skilled("a", 0.7, 2, 153)
    rows = pd.concat(
        [
            metric_rows("b", [0.7, 0.8, 0.9], selection="best validation accuracy"),
            metric_rows("b", [0.3, 0.2, 0.4], "ece", "best validation accuracy"),
            metric_rows("a", [0.5, 0.6]),
        ]
    )
    table = comparison.compare(rows, [three, two], Design("accuracy", 0.01))
    assert list(table["strategy"]) == ["b", "b", "a"]
    first, calibration, last = table.to_dict("records")
    assert (first["metric"], first["trials"], first["test_images"]) == ("accuracy", 3, 153)
    assert (first["selection"], last["selection"]) == ("best validation accuracy", "last epoch")
    assert (first["mean"], first["sd"]) == (pytest.approx(0.8), pytest.approx(0.1))
    assert (first["low"], first["high"]) == pytest.approx(stats.t.interval(0.95, 2, 0.8, 0.1 / math.sqrt(3)))
    assert (table["decides"].tolist(), set(table["margin"])) == ([True, False, True], {0.01})
    assert math.isnan(calibration["low_images"]), "calibration error is no mean over images"


def test_differences_are_paired_by_trial_and_image():
    one = np.array([[0.9, 0.6, 0.2, 0.8], [0.7, 0.4, 0.3, 0.9], [0.9, 0.8, 0.6, 0.6]])
    other = np.array([[0.8, 0.3, 0.1, 0.7], [0.6, 0.4, 0.2, 0.3], [0.9, 0.7, 0.3, 0.7]])
    table = comparison.differences([outcomes("a", one), outcomes("b", other)]).set_index("metric")
    hits_TN = (one > 0.5).astype(float) - (other > 0.5)
    nats_TN = -np.log(one) + np.log(other)
    for metric, difference_TN in (("accuracy", hits_TN), ("log_loss", nats_TN)):
        row, over_trials_T = table.loc[metric], difference_TN.mean(axis=1)
        assert (row["strategy"], row["versus"], row["trials"], row["test_images"]) == ("a", "b", 3, 4)
        assert row["difference"] == pytest.approx(difference_TN.mean())
        paired = stats.ttest_1samp(over_trials_T, 0).confidence_interval(0.95)
        assert (row["low"], row["high"]) == pytest.approx((paired.low, paired.high))
        assert row["low_images"] <= row["low"]
        assert row["high_images"] >= row["high"]


def test_pairing_sees_what_two_intervals_do_not():
    # Trials differ a lot, and the second strategy is always a little worse.
    level_T1 = RNG.uniform(0.3, 0.7, (6, 1))
    ranks_N = np.linspace(0, 1, 200)
    one, other = (outcomes(str(gap), 0.5 + 0.4 * np.sign(level_T1 - ranks_N - gap)) for gap in (0.0, 0.05))
    row = comparison.differences([one, other]).iloc[0]
    assert 0 < row["low_images"] <= row["low"] <= row["high"] <= row["high_images"] < 0.15
    levels = comparison.compare(measured(one, other), [one, other]).query("metric == 'accuracy'")
    assert levels["low"].iloc[0] < levels["high"].iloc[1]


def test_the_truth_may_be_any_class():
    p_TN, truth_N = np.array([[0.9, 0.2], [0.8, 0.4]]), np.array([0, 1])
    table = comparison.differences([outcomes("a", p_TN, truth_N), outcomes("b", p_TN**2, truth_N)])
    own = -np.log([0.9, 0.8]).mean() + -np.log([0.8, 0.6]).mean()
    squared = -np.log([0.81, 0.96]).mean() + -np.log([0.64, 0.84]).mean()
    assert table.set_index("metric").loc["log_loss", "difference"] == pytest.approx((own - squared) / 2)


def test_every_pair_is_compared_once_over_the_trials_both_have():
    three = [outcomes(name, RNG.uniform(size=(trials, 5))) for name, trials in [("a", 4), ("b", 3), ("c", 4)]]
    table = comparison.differences(three)
    pairs = table.loc[table["metric"] == "accuracy", ["strategy", "versus"]].agg("-".join, axis=1)
    assert list(pairs) == ["a-b", "a-c", "b-c"]
    assert list(table["trials"]) == [3, 3, 4, 4, 3, 3]
    alone = comparison.differences(three[:1])
    assert alone.empty
    assert list(alone.columns) == list(table.columns)


def test_strategies_without_a_trial_in_common_are_not_compared():
    one, other = skilled("a", 0.9, 3), skilled("b", 0.2, 6)
    later = Outcomes("b", (3, 4, 5), other.paths, other.truth_N, other.p_TNK[3:])
    row = comparison.differences([one, later]).iloc[0]
    assert row["trials"] == 0
    assert row[["difference", "low_images", "high_images"]].isna().all()
    table = comparison.compare(measured(one, later), [one, later])
    assert set(table["standing"]) == {"may be best"}


def test_the_metric_that_decides_is_compared_too():
    both = [outcomes(name, RNG.uniform(size=(3, 8)), np.arange(8) % 2) for name in "ab"]
    table = comparison.differences(both, Design("macro_f1"))
    assert list(table["metric"]) == ["accuracy", "log_loss", "macro_f1"]


def test_other_test_images_are_refused():
    p_TN = np.full((2, 3), 0.9)
    one, other = outcomes("a", p_TN), outcomes("b", p_TN[:, :2])
    with pytest.raises(DifferentImagesError, match="a and b were evaluated on different test images: run both again"):
        comparison.differences([one, other])
    with pytest.raises(DifferentImagesError):
        comparison.compare(metric_rows("a", [0.9, 0.9]), [one, other])


def test_the_best_and_those_not_told_apart_from_it_may_be_best():
    known = [skilled("a", 0.80, seed=1), skilled("b", 0.81, seed=2), skilled("c", 0.5, seed=3)]
    table = comparison.compare(measured(*known), known)
    rows = table[table["metric"] == "accuracy"].set_index("strategy")
    assert rows["standing"].to_dict() == {"a": "may be best", "b": "may be best", "c": "behind"}
    assert 0 < rows.loc["a", "behind_at_most"] < 0.1
    assert rows.loc["c", "behind_at_most"] > rows["mean"].max() - rows.loc["c", "mean"]
    leader = rows["mean"].idxmax()
    assert rows["corrected"].notna().to_dict() == {name: name == leader for name in rows.index}
    assert rows.loc[leader, "corrected"] <= rows.loc[leader, "mean"]


def test_a_lower_log_loss_is_better():
    known = [skilled("a", 0.8), skilled("b", 0.5)]
    table = comparison.compare(measured(*known), known, Design("log_loss"))
    rows = table[table["decides"]].set_index("strategy")
    assert rows["standing"].to_dict() == {"a": "may be best", "b": "behind"}
    assert rows.loc["a", "corrected"] == pytest.approx(rows.loc["a", "mean"], abs=0.01)


def test_groups_of_images_count_once():
    single, many = skilled("a", 0.8, images=60), skilled("b", 0.7, images=60, seed=4)
    copies = [
        Outcomes(each.strategy, each.trials, tuple(f"{n:05}" for n in range(300)), np.zeros(300, dtype=int),
                 np.repeat(each.p_TNK, 5, axis=1))
        for each in (single, many)
    ]  # fmt: skip
    groups = pd.Series(np.arange(300) // 5, index=copies[0].paths)
    own, grouped, naive = (
        comparison.differences(both, Design(groups=g)).set_index("metric")
        for both, g in (([single, many], None), (copies, groups), (copies, None))
    )
    ends = ["low_images", "high_images"]
    assert list(grouped.loc["log_loss", ends]) == pytest.approx(list(own.loc["log_loss", ends]))
    # Of accuracy, the one image that is added to each way of disagreeing is one of more.
    upper = [table.loc["accuracy", "high_images"] for table in (naive, grouped, own)]
    assert upper == sorted(upper)
    assert upper[1] == pytest.approx(upper[2], rel=0.1)


def test_the_budget_says_what_would_make_a_difference_clearer():
    # Seeds hardly differ: only more images help.
    row = comparison.differences([skilled("a", 0.8, 6, 200), skilled("b", 0.7, 6, 200, 1)], target=0.03).iloc[0]
    assert row["image_sd"] > 3 * row["trial_sd"]
    assert math.isinf(row["trials_needed"])
    assert 200 < row["images_needed"] < row["images_for_power"] < 10_000
    assert row["target"] == 0.03
