"""What a plan promises of groups, re-splits, folds and training subsets, whatever the images."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.core.data.split.config import PathGroups, SplitConfig, SplitError
from transferlab.core.data.split.index import assign, exclude, split_columns, splits_of_trial
from transferlab.core.data.split.plan import SplitPlan
from transferlab.core.validation import FieldProblems


def images(rows):
    """Images of (class, stratum, group, given split)."""
    table = pd.DataFrame(rows, columns=["class", "stratify", "group", "split"])
    return table.assign(path=[f"{name}/{i}.png" for i, name in enumerate(table["class"])])


def shuffled(rows, seed):
    return images([rows[i] for i in np.random.default_rng(seed).permutation(len(rows))])


def many_groups(seed):
    """Two classes with many groups each, and some groups of both, of very different sizes."""
    rng = np.random.default_rng(seed)
    return shuffled([
        (kind[i % len(kind)], "", f"{kind}{number}", "")
        for kind in ("a", "b", "ab") for number in range(rng.integers(6, 14)) for i in range(rng.integers(1, 10))
    ], seed)  # fmt: skip


def no_groups(seed, given=("",)):
    rng = np.random.default_rng(seed)
    counts = dict(zip("abc", rng.integers(20, 60, rng.integers(2, 4)), strict=False))
    return shuffled([(name, "", "", given[i % len(given)]) for name, n in counts.items() for i in range(n)], seed)


SEEDS = st.integers(0, 10_000)  # of the images: drawing them one by one takes hypothesis far longer than splitting
GROUPED, SINGLE = SEEDS.map(many_groups), SEEDS.map(no_groups)
WITH_TEST = SEEDS.map(lambda seed: no_groups(seed, ("train", "train", "validation", "test")))
CONFIGS = st.one_of(
    st.builds(lambda **k: SplitConfig(**k), validation=st.sampled_from([0, 0.2]), seed=st.integers(0, 3)),
    st.builds(
        lambda **k: SplitConfig(**k),
        resplits=st.integers(1, 4), test=st.floats(0.15, 0.5), validation=st.sampled_from([0, 0.2]),
    ),
    st.builds(
        lambda **k: SplitConfig(**k),
        folds=st.integers(2, 5), repeats=st.integers(1, 2), validation=st.sampled_from([0, 0.2]),
    ),
)  # fmt: skip
QUICK = settings(deadline=None, max_examples=15)


@QUICK
@given(GROUPED, CONFIGS, st.randoms(use_true_random=False))
def test_images_of_a_group_never_stand_on_two_sides_whatever_the_order_of_rows(table, config, random):
    plan = SplitPlan(table, config)
    order = list(range(len(table)))
    random.shuffle(order)
    shuffled = SplitPlan(table.iloc[order], config)
    for trial in range(len(plan)):
        split = plan.of_trial(trial)
        assert (pd.Series(split).groupby(table["group"]).agg(set).str.len() == 1).all()
        assert np.array_equal(shuffled.of_trial(trial), split[order])
        held_out, of_classes = split == "test", table["class"].to_numpy()
        share = 1 / config.folds if config.folds else config.test
        largest = table.groupby("group").size().max()
        for rows in (np.ones(len(split), bool), of_classes == "a", of_classes == "b"):
            assert abs(held_out[rows].sum() - share * rows.sum()) <= largest


@QUICK
@given(SINGLE, CONFIGS)
def test_trials_take_the_splits_in_turn_and_each_is_stratified(table, config):
    plan = SplitPlan(table, config)
    assert len(plan) == (config.folds * config.repeats if config.folds else config.resplits or 1)
    for trial in range(len(plan)):
        split = plan.of_trial(trial)
        assert np.array_equal(split, plan.of_trial(trial + len(plan)))
        test = pd.Series(split == "test").groupby(table["class"])
        share = (split == "test").mean()
        assert (abs(test.sum() - share * test.size()) < 1).all()
    if not config.folds:
        assert np.array_equal(plan.of_trial(0), SplitPlan(table, SplitConfig(
            test=config.test, validation=config.validation, seed=config.seed)).of_trial(0))  # fmt: skip
        assert len({tuple(plan.of_trial(trial)) for trial in range(len(plan))}) == len(plan)


@QUICK
@given(st.one_of(SINGLE, GROUPED), st.integers(2, 5), st.integers(1, 3))
def test_every_image_is_in_the_test_part_of_one_fold_of_each_repeat(table, folds, repeats):
    plan = SplitPlan(table, SplitConfig(folds=folds, repeats=repeats))
    tests = np.array([plan.of_trial(trial) == "test" for trial in range(len(plan))])
    assert (tests.reshape(repeats, folds, -1).sum(axis=1) == 1).all()
    if repeats > 1:
        assert not np.array_equal(tests[:folds], tests[folds : 2 * folds])


@QUICK
@given(WITH_TEST, CONFIGS)
def test_a_given_test_part_stays_and_only_the_rest_is_split_anew(table, config):
    plan, given_test = SplitPlan(table, config), (table["split"] == "test").to_numpy()
    for trial in range(len(plan)):
        assert np.array_equal(plan.of_trial(trial) == "test", given_test)
        assert (plan.of_trial(trial) == "validation").any()
    if not config.resplits and not config.folds:
        assert np.array_equal(plan.of_trial(0), table["split"])
    elif config.folds:
        held_out = np.array([plan.of_trial(trial) == "validation" for trial in range(config.folds)])
        assert np.array_equal(held_out.sum(axis=0), ~given_test)


@QUICK
@given(st.one_of(SINGLE, GROUPED), st.integers(0, 3), st.data())
def test_training_subsets_are_nested_stratified_and_leave_the_test_part_alone(table, draw, data):
    plan = SplitPlan(table, SplitConfig(resplits=2, validation=0.1))
    trial = data.draw(st.integers(0, 1))
    train = plan.of_trial(trial) == "train"
    grouped = (table["group"] != "").any()
    before = np.zeros(len(table), bool)
    sizes = plan.subset_sizes(draw, trial)
    assert sizes[-1] == train.sum()
    for size, larger in zip(sizes, [*sizes[1:], None], strict=True):
        assert larger is None or size == (larger + 1) // 2
        chosen = plan.subset(size, draw, trial)
        assert not (chosen & ~train).any()
        assert not (before & ~chosen).any()
        assert set(table["class"][chosen]) == set(table["class"])
        if grouped:
            cut = pd.Series(chosen[train]).groupby(table["group"].to_numpy()[train]).nunique()
            assert (cut == 1).all()
            assert chosen.sum() <= size
        else:
            assert chosen.sum() == size
            of_class = pd.Series(chosen[train]).groupby(table["class"].to_numpy()[train])
            assert (abs(of_class.sum() - size / train.sum() * of_class.size()) < 1.5).all()
        before = chosen
    assert np.array_equal(before, train)
    with pytest.raises(SplitError, match="for one of every class"):
        plan.subset(0, draw, trial)


def test_draws_of_subsets_differ():
    plan = SplitPlan(images([(name, "", "", "") for name in "ab" * 40]), SplitConfig())
    assert not np.array_equal(plan.subset(20, 0), plan.subset(20, 1))
    assert np.array_equal(plan.subset(20, 0), plan.subset(20, 0))


@given(st.integers(0, 20))
@settings(deadline=None, max_examples=10)
def test_what_is_recognisable_by_group_is_of_no_use_across_a_group_split(seed):
    """Labels are random per group: a rule that knows the groups is always right within them and guesses beyond."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(["a", "b"] * 20)
    table = images([(labels[group], "", str(group), "") for group in range(40) for _ in range(5)])

    def accuracy(table):
        split = SplitPlan(table, SplitConfig()).of_trial(0)
        group = table["path"].map(dict(zip(table["path"], np.repeat(range(40), 5), strict=True))).to_numpy()
        known = dict(zip(group[split == "train"], table["class"][split == "train"], strict=True))
        return np.mean([known.get(g) == c for g, c in zip(group[split == "test"], table["class"][split == "test"],
                                                         strict=True)])  # fmt: skip

    assert accuracy(table) == 0
    assert accuracy(table.assign(group="")) > 0.9


def test_the_index_has_a_column_for_each_split_and_only_one_without_re_splits():
    table = images([(name, "", "", "") for name in "ab" * 20]).assign(width=8, height=8, pixel_sha256="x")
    assert split_columns(assign(table, SplitConfig())) == ["split"]
    config = SplitConfig(resplits=3, validation=0.2)
    index = assign(table, config)
    assert split_columns(index) == ["split", "split_1", "split_2"]
    for trial in range(5):
        assert np.array_equal(splits_of_trial(index, trial), SplitPlan(table, config).of_trial(trial))
    gone = index.loc[index["split_1"] == "train", "path"].iloc[:2]
    left = exclude(index, gone, "split_1")
    assert left["split"].equals(index["split"])
    assert list(left.loc[left["split_1"] == "excluded", "path"]) == list(gone)


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ([("a", "", "1", "train"), ("b", "", "1", "test")], {}, r"put images of group '1' in test and train \(1 such"),
        ([("a", "", "1", "train"), ("b", "", "1", "test")], {"resplits": 2}, "in test and the other parts"),
        ([("a", "", "", "train"), ("b", "", "", "test")], {"resplits": 2}, "set dataset.split.validation, e.g. to"),
        ([("a", "", "1", ""), ("b", "", "2", "")], {"folds": 3}, "folds: 3, but there are only 2 groups"),
        ([("a", "", "", ""), ("b", "", "", "test")], {}, "1 of 2 images have no split"),
    ],
)
def test_what_contradicts_itself_is_explained(rows, settings, message):
    with pytest.raises(SplitError, match=message):
        SplitPlan(images(rows), SplitConfig(**settings)).of_trial(0)


def test_a_class_of_one_group_is_explained():
    table = images([("a", "", "1", "")] * 9 + [("b", "", str(i), "") for i in range(9)])
    with pytest.raises(SplitError, match=r"class 'a' has none of its 9 usable images in the \w+ split \(1 groups"):
        assign(table.assign(width=1, height=1, pixel_sha256=""), SplitConfig(test=0.5))


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"resplits": 0}, "resplits"), ({"folds": 1}, "folds"), ({"folds": 2, "resplits": 2}, "folds"),
        ({"repeats": 2}, "repeats"), ({"folds": 2, "repeats": 0}, "repeats"), ({"groups": ""}, "groups"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(settings, field):
    with pytest.raises(FieldProblems) as caught:
        SplitConfig(**settings)
    assert [problem.field for problem in caught.value.problems] == [field]


def test_groups_are_read_from_paths():
    paths = pd.Series(["a/p1_1.png", "a/p1_2.png", "b/p2_1.png", "b/none.png"])
    assert list(PathGroups(path=r"([^/_]+)_[^/]*$").of(paths)) == ["p1", "p1", "p2", ""]
    assert list(PathGroups(path="p1|p2").of(paths)) == ["p1", "p1", "p2", ""]


@pytest.mark.parametrize("pattern", ["(", "(a+)+$", "(a|aa)*b", "(?:a*)*", "a*a*a*a*b", "(x){2,}"])
def test_an_expression_that_may_never_end_is_refused(pattern):
    with pytest.raises(FieldProblems, match=r"^path: "):
        PathGroups(path=pattern)


@settings(deadline=1000, max_examples=60)
@given(st.text("ab_/", min_size=200, max_size=260))
def test_what_is_accepted_ends(path):
    PathGroups(path=r"([^/]+)/(.*)_(\w+)c").of(pd.Series([path]))
