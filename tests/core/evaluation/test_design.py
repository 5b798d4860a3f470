import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import KNeighborsClassifier

from transferlab.core.data.split.config import SplitConfig
from transferlab.core.data.split.index import assign, splits_of_trial
from transferlab.core.evaluation import comparison
from transferlab.core.evaluation.contributions import Outcomes
from transferlab.core.evaluation.design import FIXED_TEST, FOLDS, ONE_SPLIT, RE_SPLITS, Design
from transferlab.core.evaluation.pairing import DifferentImagesError

GROUPS, OF_GROUP, PIXELS = 40, 6, 64


def listed(count, given="", groups=None):
    """A listing of two classes by turns."""
    number = np.arange(count)
    return pd.DataFrame({
        "path": [f"{n:03}.png" for n in number],
        "class": np.where(number % 2, "b", "a"),
        "split": given,
        "stratify": "",
        "group": "" if groups is None else groups,
        "width": 8,
        "height": 8,
        "pixel_sha256": [str(n) for n in number],
    })  # fmt: skip


def predictions_of(strategy, index, answer, trials):
    """The table `predictions` of trials that each test their own split: `answer(trial, paths)` gives p of class b."""
    tables = []
    for trial in trials:
        tested = index[splits_of_trial(index, trial) == "test"]
        p_b = answer(trial, tested)
        tables.append(
            pd.DataFrame(
                {
                    "strategy": strategy,
                    "trial": trial,
                    "path": tested["path"],
                    "truth": tested["class"],
                    "p_a": 1 - p_b,
                    "p_b": p_b,
                }
            )
        )
    return Outcomes.of(pd.concat(tables))


def right_about(share, seed):
    """An answer that is right so often, on the same images in every trial but for a few."""

    def answer(trial, tested):
        hardness = np.random.default_rng(9).uniform(size=999)[tested["path"].str[:3].astype(int)]
        noise = np.random.default_rng((seed, trial)).normal(0, 0.05, len(tested))
        is_right = hardness + noise < share
        return np.where(is_right == (tested["class"] == "b"), 0.9, 0.1)

    return answer


def metrics_of(*known):
    rows = [
        {"strategy": each.strategy, "trial": trial, "metric": "accuracy", "value": value, "selection": "last epoch"}
        for each in known
        for trial, value in zip(each.trials, np.nanmean(each.contributions("accuracy"), axis=1), strict=True)
    ]
    return pd.DataFrame(rows)


def compared(config, trials, given="", groups=None, lost=()):
    """Both tables for two strategies, of which the second lacks the trials `lost`."""
    index = assign(listed(120, given, groups), config)
    known = [
        predictions_of("a", index, right_about(0.8, 1), range(trials)),
        predictions_of("b", index, right_about(0.7, 2), [trial for trial in range(trials) if trial not in lost]),
    ]
    design = Design.of_index(index, "accuracy", None, is_folds=bool(config.folds))
    tables = comparison.compare(metrics_of(*known), known, design), comparison.differences(known, design)
    return index, design, *tables


@pytest.mark.parametrize(
    ("config", "given", "splitting", "ratio"),
    [
        (SplitConfig(), "", ONE_SPLIT, 0),
        (SplitConfig(resplits=5), "", RE_SPLITS, 30 / 90),
        (SplitConfig(folds=5), "", FOLDS, 24 / 96),
        (SplitConfig(resplits=5, validation=0.2), ["train"] * 90 + ["test"] * 30, FIXED_TEST, 0),
    ],
)
def test_the_index_says_how_trials_were_split(config, given, splitting, ratio):
    _, design, levels, differences = compared(config, 5, given)
    assert (design.splitting, design.splits) == (splitting, config.count)
    assert design.test_to_train == pytest.approx(ratio)
    assert levels[["low", "high", "low_images", "high_images", "behind_at_most"]].notna().all(axis=None)
    assert set(levels["standing"]) <= {"may be best", "behind"}
    accuracy = differences.set_index("metric").loc["accuracy"]
    assert accuracy["low_images"] < accuracy["difference"] < accuracy["high_images"]
    assert accuracy["trials"] == 5


@pytest.mark.parametrize("config", [SplitConfig(resplits=3), SplitConfig(folds=3)])
def test_test_images_are_the_different_ones(config):
    index, _, levels, differences = compared(config, 3)
    tested = (index[["split", "split_1", "split_2"]] == "test").any(axis=1).sum()
    assert set(levels["test_images"]) == set(differences["test_images"]) == {tested}


def test_the_variance_of_re_splits_is_corrected_for_shared_training_images():
    _, design, levels, _ = compared(SplitConfig(resplits=5), 5)
    row = levels.iloc[0]
    half = 2.776445105 * row["sd"] * np.sqrt(1 / 5 + design.test_to_train)
    assert row["high"] - row["mean"] == pytest.approx(half)
    assert row["low_images"] <= row["low"]


def test_several_seeds_of_a_split_are_no_more_re_splits():
    once, twice = (compared(SplitConfig(resplits=5), trials)[2].iloc[0] for trials in (5, 10))
    assert (once["splits"], twice["splits"]) == (5, 5)
    assert twice["high"] - twice["low"] > 0.7 * (once["high"] - once["low"]), "a seed changes little here"
    assert set(compared(SplitConfig(resplits=2), 6)[2]["standing"]) == {"not ranked"}


def test_a_trial_that_one_strategy_lost_leaves_the_others_paired():
    index, _, levels, differences = compared(SplitConfig(resplits=4), 4, lost=[2])
    assert list(levels["trials"]) == [4, 3]
    assert set(differences["trials"]) == {3}
    others = (index[["split", "split_1", "split_3"]] == "test").any(axis=1).sum()
    assert set(differences["test_images"]) == {others} != set(levels["test_images"])
    assert differences["low_images"].notna().all()


def test_a_trial_tested_on_other_images_is_refused():
    one, other = (assign(listed(120), SplitConfig(resplits=3, seed=seed)) for seed in (0, 1))
    known = [predictions_of(n, index, right_about(0.8, 1), range(3)) for n, index in (("a", one), ("b", other))]
    with pytest.raises(DifferentImagesError, match="a and b"):
        comparison.differences(known)


def test_labels_that_belong_to_groups_are_learned_by_an_image_split_and_not_by_a_group_split():
    """Images are recognisable by group, and a group's label is random: nothing but the groups can be learned."""
    rng = np.random.default_rng(0)
    group_N = np.repeat(np.arange(GROUPS), OF_GROUP)
    x_NP = rng.uniform(size=(GROUPS, PIXELS))[group_N] + rng.normal(0, 0.05, (len(group_N), PIXELS))
    label_N = rng.permutation(np.arange(GROUPS) % 2)[group_N]
    listing = listed(len(group_N), groups=[f"panel {group}" for group in group_N])
    listing["class"] = np.where(label_N, "b", "a")

    def nearest(index):
        def answer(trial, tested):
            train = index[splits_of_trial(index, trial) == "train"]
            neighbour = KNeighborsClassifier(1).fit(x_NP[train.index], train["label"])
            return 0.1 + 0.8 * neighbour.predict(x_NP[tested.index])

        return answer

    levels = {}
    for name, own in (("image", listing.assign(group="")), ("group", listing)):
        index = assign(own, SplitConfig(resplits=8))
        known = predictions_of(name, index, nearest(index), range(8))
        levels[name] = comparison.compare(metrics_of(known), [known], Design.of_index(index, "accuracy", None)).iloc[0]
    assert levels["image"]["mean"] > 0.95
    assert levels["group"]["low_images"] < 0.5 < levels["group"]["high_images"] < 0.9
    assert (levels["image"]["groups"], 15 < levels["group"]["groups"] <= GROUPS) == (0, True)
