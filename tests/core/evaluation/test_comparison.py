import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from transferlab.core.evaluation import comparison
from transferlab.core.evaluation import predictions as predictions_module

RNG = np.random.default_rng(0)


def metric_rows(strategy, values, metric="accuracy", selection="last epoch"):
    return pd.DataFrame(
        [
            {"strategy": strategy, "trial": trial, "metric": metric, "value": value, "selection": selection}
            for trial, value in enumerate(values)
        ]
    )


def predictions(strategy, p_TN, truth_N=None):
    """The table of T trials from the probabilities of the first of two classes, the truth by default."""
    truth_N = np.zeros(p_TN.shape[1], dtype=int) if truth_N is None else truth_N
    paths = [f"{i}.jpg" for i in range(p_TN.shape[1])]
    return pd.concat(
        [
            predictions_module.table(np.stack([p_N, 1 - p_N], axis=1), strategy, trial, paths, truth_N, ["ant", "bee"])
            for trial, p_N in enumerate(p_TN)
        ],
        ignore_index=True,
    )


def satterthwaite(one, one_df, other, other_df):
    return (one + other) ** 2 / (one**2 / one_df + other**2 / other_df)


@pytest.mark.parametrize("trials", [2, 3, 10])
def test_the_interval_is_students(trials):
    values_T = RNG.normal(0.8, 0.05, trials)
    expected = stats.t.interval(0.95, trials - 1, loc=values_T.mean(), scale=stats.sem(values_T))
    assert comparison.interval(values_T) == pytest.approx(expected)


def test_another_source_of_error_widens_the_interval():
    values_T = np.array([0.7, 0.8, 0.9])
    expected = stats.t.interval(0.95, satterthwaite(0.01 / 3, 2, 0.02, 50), loc=0.8, scale=math.sqrt(0.01 / 3 + 0.02))
    assert comparison.interval(values_T, 0.02, 50) == pytest.approx(expected)
    # Two independent means: SciPy's own interval of Welch's test.
    one, other = RNG.normal(size=4), RNG.normal(size=9)
    welch = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    ours = comparison.interval(one, other.var(ddof=1) / 9, 8)
    assert np.array(ours) - other.mean() == pytest.approx([welch.low, welch.high])


def test_one_trial_ranks_nothing():
    assert all(math.isnan(end) for end in comparison.interval(np.array([0.9])))
    row = comparison.compare(metric_rows("tuned", [0.9]), 100).iloc[0]
    assert (row["mean"], row["trials"]) == (0.9, 1)
    assert row[["low", "high", "sd"]].isna().all()
    p_1N = np.array([[0.9, 0.2]])
    table = comparison.differences([predictions("a", p_1N), predictions("b", p_1N[:, ::-1])])
    assert table[["low", "high", "low_images", "high_images"]].isna().all(axis=None)


def test_every_row_says_what_it_is():
    table = comparison.compare(
        pd.concat(
            [
                metric_rows("b", [0.7, 0.8, 0.9], selection="best validation accuracy"),
                metric_rows("b", [0.3, 0.2, 0.4], "log_loss", "best validation accuracy"),
                metric_rows("a", [0.5, 0.6]),
            ]
        ),
        test_images=153,
    )
    assert list(table["strategy"]) == ["b", "b", "a"]
    first = table.iloc[0]
    assert (first["metric"], first["trials"], first["test_images"]) == ("accuracy", 3, 153)
    assert first["selection"] == "best validation accuracy"
    assert table.iloc[2]["selection"] == "last epoch"
    assert (first["mean"], first["sd"]) == (pytest.approx(0.8), pytest.approx(0.1))
    assert (first["low"], first["high"]) == pytest.approx(stats.t.interval(0.95, 2, 0.8, 0.1 / math.sqrt(3)))


def test_differences_are_paired_by_trial_and_image():
    one = np.array([[0.9, 0.6, 0.2, 0.8], [0.7, 0.4, 0.3, 0.9], [0.9, 0.8, 0.6, 0.6]])
    other = np.array([[0.8, 0.3, 0.1, 0.7], [0.6, 0.4, 0.2, 0.3], [0.9, 0.7, 0.3, 0.7]])
    # The rows of a table may come in any order.
    tables = [predictions("a", one), predictions("b", other).sample(frac=1, random_state=0)]
    table = comparison.differences(tables).set_index("metric")
    hits_TN = (one > 0.5).astype(float) - (other > 0.5)
    nats_TN = -np.log(one) + np.log(other)
    for metric, difference_TN in (("accuracy", hits_TN), ("log_loss", nats_TN)):
        row, over_trials_T = table.loc[metric], difference_TN.mean(axis=1)
        assert (row["strategy"], row["versus"], row["trials"], row["test_images"]) == ("a", "b", 3, 4)
        assert row["difference"] == pytest.approx(difference_TN.mean())
        paired = stats.ttest_1samp(over_trials_T, 0).confidence_interval(0.95)
        assert (row["low"], row["high"]) == pytest.approx((paired.low, paired.high))
        variance = over_trials_T.var(ddof=1) / 3, difference_TN.mean(axis=0).var(ddof=1) / 4
        df = satterthwaite(variance[0], 2, variance[1], 3)
        both = stats.t.interval(0.95, df, difference_TN.mean(), math.sqrt(sum(variance)))
        assert (row["low_images"], row["high_images"]) == pytest.approx(both)


def test_pairing_sees_what_two_intervals_do_not():
    # Trials differ a lot, and the second strategy is always a little worse.
    level_T1 = RNG.uniform(0.3, 0.7, (6, 1))
    ranks_N = np.linspace(0, 1, 200)
    one, other = (0.5 + 0.4 * np.sign(level_T1 - ranks_N - gap) for gap in (0.0, 0.05))
    tables = [predictions("a", one), predictions("b", other)]
    row = comparison.differences(tables).iloc[0]
    assert 0 < row["low"] <= row["high"] < 0.1
    scores = [t.assign(v=t["truth"] == t["prediction"]).groupby("trial")["v"].mean().to_numpy() for t in tables]
    assert comparison.interval(scores[0])[0] < comparison.interval(scores[1])[1]


def test_the_truth_may_be_any_class():
    p_TN, truth_N = np.array([[0.9, 0.2], [0.8, 0.4]]), np.array([0, 1])
    table = comparison.differences([predictions("a", p_TN, truth_N), predictions("b", p_TN**2, truth_N)])
    own = -np.log([0.9, 0.8]).mean() + -np.log([0.8, 0.6]).mean()
    squared = -np.log([0.81, 0.96]).mean() + -np.log([0.64, 0.84]).mean()
    assert table.set_index("metric").loc["log_loss", "difference"] == pytest.approx((own - squared) / 2)


def test_every_pair_is_compared_once_over_the_trials_both_have():
    three = [predictions(name, RNG.uniform(size=(trials, 5))) for name, trials in [("a", 4), ("b", 3), ("c", 4)]]
    table = comparison.differences(three)
    assert list(table.loc[table["metric"] == "accuracy", ["strategy", "versus"]].agg("-".join, axis=1)) == [
        "a-b",
        "a-c",
        "b-c",
    ]
    assert list(table["trials"]) == [3, 3, 4, 4, 3, 3]
    alone = comparison.differences(three[:1])
    assert alone.empty
    assert list(alone.columns) == list(table.columns)


def test_other_test_images_are_refused():
    p_TN = np.full((2, 3), 0.9)
    with pytest.raises(ValueError, match="a and b were evaluated on different test images: run both again"):
        comparison.differences([predictions("a", p_TN), predictions("b", p_TN[:, :2])])


def test_intervals_cover_what_they_promise():
    # 1,000 experiments of a few trials whose true mean is known: 95% cover it, give or take three standard errors.
    for trials in (2, 3, 5):
        simulated = RNG.normal(0.8, 0.03, (1000, trials))
        ends = np.array([comparison.interval(values_T) for values_T in simulated])
        covered = ((ends[:, 0] <= 0.8) & (ends[:, 1] >= 0.8)).mean()
        assert covered == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 1000))


def test_intervals_over_images_cover_the_difference_on_new_photographs():
    # A difference per image, one per trial, and noise; over trials alone the interval is far too sure.
    covered, sure = [], []
    for _ in range(400):
        image_N, trial_T1 = RNG.normal(0, 0.5, 60), RNG.normal(0, 0.02, (4, 1))
        nats_TN = 0.3 + image_N + trial_T1 + RNG.normal(0, 0.1, (4, 60))
        over_T, over_images = nats_TN.mean(axis=1), nats_TN.mean(axis=0).var(ddof=1) / 60
        for seen, ends in (
            (sure, comparison.interval(over_T)),
            (covered, comparison.interval(over_T, over_images, 59)),
        ):
            seen.append(ends[0] <= 0.3 <= ends[1])
    assert np.mean(covered) > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 400)
    assert np.mean(sure) < 0.7
