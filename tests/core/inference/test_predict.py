"""Predictions of files, really trained and decoded; the files of `test_split` are PNG: they hold its very pixels."""

import dataclasses
import gc

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny import VIEW, machine, photographs, spec_of, split_of, stage, strategy

from transferlab.core.data.decoding.decode import UnusableImageError
from transferlab.core.evaluation.predictions import predict_split
from transferlab.core.inference.ensemble import Ensemble, EnsembleError
from transferlab.core.inference.predict import predict, predict_files, table
from transferlab.core.loading.feature_cache import FeatureCache, FeatureCacheConfig
from transferlab.core.models import forward
from transferlab.core.training.trial import train_trial

PLANS = {
    "head": strategy(head=stage(trainable="head", epochs=1)),
    "tune": strategy(tune=stage(epochs=1)),
    "mixed": strategy(head=stage(trainable=(("layer4.*", 0.1), ("fc.*", 1.0), (".*", None)), epochs=1)),
    "none": dataclasses.replace(strategy(), stages={}),
}
LAYERS = {"head": 1, "tune": 2, "mixed": 2, "none": 1}  # at whose inputs the plans look
COUNT = 23  # more than one batch, and one that is not full


@pytest.fixture(scope="module")
def test_split(tmp_path_factory):
    """The test split and its files."""
    folder = tmp_path_factory.mktemp("test")
    files = []
    for number, image_HWC in enumerate(photographs(COUNT, seed=2)[0]):
        files.append(folder / f"{number:02d}.png")
        Image.fromarray(image_HWC).save(files[-1])
    return split_of(folder / "store", COUNT, "test", seed=2), files


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A trained trial of every plan."""
    folder = tmp_path_factory.mktemp("trained")
    train = split_of(folder / "train", 8)
    return {name: train_trial(spec_of(plan, train), folder, lambda _: None).checkpoint for name, plan in PLANS.items()}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Ten images of 32 px in a pass, and as many numbers of features."""
    monkeypatch.setattr(forward, "EVALUATION_BATCH", 10)


@pytest.mark.parametrize("name", PLANS)
def test_the_test_files_give_the_stored_predictions_to_the_bit(test_split, checkpoints, tmp_path, name):
    split, files = test_split
    evaluated_NK, features = predict_split(
        checkpoints[name], PLANS[name], split, machine(), FeatureCache(tmp_path, FeatureCacheConfig())
    )
    predicted = list(predict_files([checkpoints[name]], files, machine(), workers=0))
    assert [one.path for one in predicted] == files
    assert np.array_equal(np.stack([one.probabilities for one in predicted]), evaluated_NK)
    assert len(features) == LAYERS[name]
    for layer, features_NF in enumerate(features):
        assert np.array_equal(np.stack([one.features[0][layer] for one in predicted]), features_NF)


def test_files_that_cannot_be_used_are_rows_and_change_nothing_else(test_split, checkpoints, tmp_path):
    _, files = test_split
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("no image")
    bad = [tmp_path / "empty.jpg", tmp_path / "text.png", tmp_path / "lost.jpg"]
    mixed = [bad[0], *files[:11], bad[1], *files[11:], bad[2]]
    alone = list(predict_files([checkpoints["tune"]], files, machine(), workers=0))
    told = list(predict_files([checkpoints["tune"]], mixed, machine(), workers=2))
    assert [one.path for one in told] == mixed, "found = predicted + refused, in order"
    assert {one.path: one.reason for one in told if one.reason} == {
        bad[0]: "Its content is empty.",
        bad[1]: "Its content is no image of a known format.",
        bad[2]: "It cannot be read: No such file or directory.",
    }
    used = [one.probabilities for one in told if one.reason is None]
    assert np.array_equal(np.stack(used), np.stack([one.probabilities for one in alone]))


def test_an_ensemble_is_the_mean_of_probabilities_whatever_its_members_see(test_split, checkpoints):
    _, files = test_split
    larger = checkpoints["tune"]
    view = dataclasses.replace(VIEW, size=40, resize=44)
    larger = dataclasses.replace(larger, header=dataclasses.replace(larger.header, view=view))
    members = [checkpoints["head"], checkpoints["tune"], larger]
    each = [[one.probabilities for one in predict_files([m], files, machine(), workers=0)] for m in members]
    together = [one.probabilities for one in predict_files(members, files, machine(), workers=0)]
    assert np.allclose(np.stack(together), np.mean(each, axis=0), atol=1e-12)


def test_classes_that_differ_cannot_predict_together(checkpoints):
    one = checkpoints["tune"]
    other = dataclasses.replace(one, header=dataclasses.replace(one.header, classes=("blue", "red")))
    with pytest.raises(EnsembleError, match=r"have different classes \(blue, red; red, blue\)"):
        Ensemble([one, other], machine())
    with pytest.raises(EnsembleError, match="no checkpoint"):
        predict_files([], [], machine())


def test_no_more_than_a_batch_of_images_is_held(checkpoints, test_split):
    _, files = test_split
    gc.collect()
    predictions, most = predict_files([checkpoints["tune"]], files * 5, machine(), workers=0), 0
    for count, _ in enumerate(predictions):
        if count % 20 == 0:
            held = [a for a in gc.get_objects() if isinstance(a, np.ndarray) and a.dtype == np.uint8 and a.ndim == 3]
            most = max(most, len(held))
    assert count + 1 == 5 * COUNT
    assert most <= 20


def test_a_table_has_the_most_likely_classes_and_the_reasons(test_split, checkpoints, tmp_path):
    _, files = test_split
    found = predict_files([checkpoints["tune"]], [files[0], tmp_path / "lost.png"], machine(), workers=0)
    told = table(found, ("red", "blue"), top_k=3)
    assert list(told) == [
        *("path", "prediction", "probability", "prediction_2", "probability_2", "p_red", "p_blue", "reason")
    ]
    first, refused = told.iloc[0], told.iloc[1]
    assert first["probability"] == first[f"p_{first['prediction']}"] == max(first["p_red"], first["p_blue"])
    assert {first["prediction"], first["prediction_2"]} == {"red", "blue"}
    assert pd.isna(first["reason"])
    assert refused["reason"].startswith("It cannot be read")
    assert refused.drop(["path", "reason"]).isna().all()


def test_a_few_files_are_predicted_in_one_call(test_split, checkpoints, tmp_path):
    _, files = test_split
    told = predict(checkpoints["tune"], files[:3], machine())
    assert list(told) == ["path", "prediction", "p_red", "p_blue"]
    assert list(told["path"]) == list(map(str, files[:3]))
    assert np.allclose(told[["p_red", "p_blue"]].sum(axis=1), 1)
    assert isinstance(predict(checkpoints["tune"], [], machine()), pd.DataFrame)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UnusableImageError, match=r"text\.png: Its content is no image of a known format"):
        predict(checkpoints["tune"], [files[0], tmp_path / "text.png"], machine())
