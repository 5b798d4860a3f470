"""The tables of an evaluation, of real tiny trials."""

from dataclasses import replace

import pandas as pd
import pytest
from tiny import machine, spec_of, split_of, stage, strategy

from transferlab.core.evaluation.tables import evaluate_trials
from transferlab.core.evaluation.tested import Evaluation, OtherDataError
from transferlab.core.loading.feature_cache import FeatureCache, FeatureCacheConfig
from transferlab.core.loading.splits import NoStoreError
from transferlab.core.loading.splits import split_of as rows_of
from transferlab.core.training.trial import train_trial

PLAN = strategy(head=stage(trainable="head", epochs=1))
IMAGES = 12


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """An evaluation of two trials on the last six of twelve images, and its checkpoints."""
    folder = tmp_path_factory.mktemp("evaluated")
    photographs = split_of(folder / "store", IMAGES)
    index = pd.DataFrame({
        "path": [f"{'even' if row % 2 else 'odd'}/{row}.png" for row in range(IMAGES)],
        "label": photographs.labels,
        "class": [("red", "blue")[label] for label in photographs.labels],
        "pixel_sha256": [file["pixel_sha256"] for file in photographs.store.header["files"]],
        "split": ["train"] * 6 + ["test"] * 6,
        "group": "",
    })  # fmt: skip
    spec = spec_of(PLAN, rows_of(index, photographs.store, "train", 0))
    trials = {number: train_trial(replace(spec, trial=number), folder, lambda _: None) for number in range(2)}
    evaluation = Evaluation(
        name="tiny",
        strategy=PLAN,
        index=index,
        stores={spec.initial.header.view.stored_as.key: photographs.store},
        subsets={"even": "even/*", "none": "nothing/*"},
        machine=machine(),
        feature_cache=FeatureCache(folder, FeatureCacheConfig()),
        experiment="photos",
        run_id="now",
        checkpoint_version="then",
    )
    return evaluation, {number: result.checkpoint for number, result in trials.items()}


def test_every_table_has_every_trial_and_says_where_it_comes_from(evaluated):
    evaluation, checkpoints = evaluated
    tables = evaluate_trials(checkpoints, evaluation)
    for table in tables[:4]:
        assert set(table["trial"]) == {0, 1}
        assert set(table["strategy"]) == {"tiny"}
    for table in (tables.metrics, tables.per_class, tables.confusion):
        assert set(table["experiment"]) == {"photos"}
        assert set(table["run_id"]) == {"now"}
        assert set(table["checkpoint_version"]) == {"then"}
        assert set(table["selection"]) == {"last epoch"}
    assert list(tables.predictions["path"][:6]) == list(evaluation.index["path"][6:])
    assert set(tables.metrics["split"]) == {"test", "test/even"}, "a subset that no image is in has no rows"


def test_the_confusion_has_a_row_for_every_pair_that_occurs_and_none_else(evaluated):
    evaluation, checkpoints = evaluated
    tables = evaluate_trials(checkpoints, evaluation)
    counted = tables.predictions.groupby(["trial", "truth", "prediction"]).size()
    found = tables.confusion.set_index(["trial", "truth", "prediction"])["count"]
    assert found.sort_index().to_dict() == counted.sort_index().to_dict()


def test_images_that_were_decoded_for_another_size_are_told(evaluated):
    evaluation, checkpoints = evaluated
    with pytest.raises(NoStoreError, match=r"no images are stored as .*kedro run --pipeline=data"):
        evaluate_trials(checkpoints, replace(evaluation, stores={}))


def test_trials_that_may_have_seen_the_test_images_are_not_tested_on_them(evaluated):
    evaluation, checkpoints = evaluated
    index = evaluation.index
    other = replace(evaluation, index=index.assign(split=[*index["split"][6:], *index["split"][:6]]))
    with pytest.raises(OtherDataError, match=r"tiny: trial 1 was trained on another training split.*--namespaces=tiny"):
        evaluate_trials(checkpoints, other)
    renamed = replace(evaluation, index=index.assign(**{"class": index["class"].replace("red", "pink")}))
    with pytest.raises(OtherDataError, match="for the classes red, blue, and the images are now of pink, blue"):
        evaluate_trials(checkpoints, renamed)
    more = pd.concat([index, index.tail(1).assign(path="more.png")], ignore_index=True)
    assert len(evaluate_trials(checkpoints, replace(evaluation, index=more)).predictions) == 14, "more test images"


def test_without_validation_images_nothing_is_calibrated(evaluated):
    evaluation, checkpoints = evaluated
    tables = evaluate_trials(checkpoints, evaluation)
    assert tables.coverage.empty
    assert tables.references == {}


@pytest.fixture
def with_validation(evaluated):
    """Two of the training images are for validation, and the checkpoints, of before they did, do not say otherwise."""
    evaluation, checkpoints = evaluated
    index = evaluation.index.assign(split=["train"] * 4 + ["validation"] * 2 + ["test"] * 6)
    silent = {trial: replace(one, header=replace(one.header, trained_on=None)) for trial, one in checkpoints.items()}
    return replace(evaluation, index=index), silent


def test_a_soup_is_tried_where_trials_begin_alike(with_validation):
    evaluation, checkpoints = with_validation
    shared = replace(evaluation, strategy=replace(PLAN, head="shared"))
    row = evaluate_trials(checkpoints, shared).together.set_index(["kind", "metric"]).loc[("soup", "accuracy")]
    assert row["members"] in (1, 2)
    assert row["low"] <= row["value"] <= row["high"]
    kinds = evaluate_trials(checkpoints, replace(shared, strategy=PLAN)).together["kind"]
    assert set(kinds) == {"ensemble"}


def test_the_ensemble_and_its_sets_are_measured_beside_the_single_trials(with_validation):
    evaluation, checkpoints = with_validation
    tables = evaluate_trials(checkpoints, evaluation)
    mean = tables.predictions.groupby("path", sort=False)[["p_red", "p_blue"]].mean()
    truth = tables.predictions.groupby("path", sort=False)["truth"].first()
    row = tables.together.set_index("metric").loc["accuracy"]
    assert row["value"] == (mean.idxmax(axis=1).str.removeprefix("p_") == truth).mean()
    single = tables.metrics.query("metric == 'accuracy' and split == 'test'")["value"].mean()
    assert row["single"] == pytest.approx(single)
    assert row["difference_low"] <= row["value"] - single <= row["difference_high"]
    assert set(tables.references) == {0, 1}
    assert len(tables.references[0].training.paths) == 4
    assert list(tables.coverage["members"].unique()) == [1, 2]
    of_all = tables.coverage[tables.coverage["class"] == ""]
    assert list(of_all["trial"].isna()) == [False] * 4 + [True] * 2
    assert (of_all["coverage"] == 1).all(), "two validation images exclude no class at 90%"
    assert (of_all["set_size"] == 2).all()
