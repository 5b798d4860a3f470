import dataclasses

import numpy as np
import pytest
import torch
from tiny import machine, spec_of, split_of, stage, strategy

from transferlab.core.data import subsets
from transferlab.core.evaluation import predictions
from transferlab.core.loading import frozen_prefix
from transferlab.core.loading.feature_cache import FeatureCache, FeatureCacheConfig
from transferlab.core.loading.frozen_prefix import FrozenPrefix
from transferlab.core.loading.images import Images
from transferlab.core.models import factory
from transferlab.core.training.trial import train_trial


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("splits")
    return split_of(folder / "train", 8), split_of(folder / "test", 7, "test", seed=2)


def cache_in(folder):
    return FeatureCache(folder, FeatureCacheConfig())


PLANS = {
    "head": strategy(head=stage(trainable="head", epochs=1)),
    "staged": strategy(head=stage(trainable="head", epochs=1), tune=stage(epochs=1)),
    "none": dataclasses.replace(strategy(), stages={}),
    "dropout": strategy("torchvision/mobilenet_v3_small", head=stage(trainable="head", epochs=1)),
}


@pytest.mark.parametrize(("name", "cached"), [("head", 1), ("staged", 0), ("none", 0), ("dropout", 1)])
def test_probabilities_are_the_softmax_of_the_network_in_eval(splits, tmp_path, name, cached):
    plan, (train, test) = PLANS[name], splits
    checkpoint = train_trial(spec_of(plan, train), tmp_path / "training", lambda _: None).checkpoint
    p_NK = predictions.predict_split(checkpoint, plan, test, machine(), cache_in(tmp_path / "test")).p_NK
    net = factory.load(checkpoint, machine()).eval()
    with torch.no_grad():
        x = Images(test, checkpoint.header.view, machine()).batch(0, torch.arange(7))
        expected = net(x).double().softmax(dim=1)
    assert p_NK.dtype == np.float64
    assert np.allclose(p_NK, expected, atol=1e-6)
    assert np.allclose(p_NK.sum(axis=1), 1)
    assert len(list(tmp_path.glob("test/*"))) == cached


def test_what_no_trial_trained_is_computed_once_for_all(splits, tmp_path, monkeypatch):
    ran, run = [], FrozenPrefix.run
    monkeypatch.setattr(FrozenPrefix, "run", lambda *args: ran.append(1) or run(*args))
    train, test = splits
    spec = spec_of(PLANS["head"], train)
    # All trials of pretrained weights share the body.
    shared = tuple(name for name in spec.initial.tensors if not name.startswith("fc."))
    header = dataclasses.replace(spec.initial.header, pretrained=shared)
    initial = dataclasses.replace(spec.initial, header=header)
    for trial in range(3):
        one = dataclasses.replace(spec, initial=initial, trial=trial)
        checkpoint = train_trial(one, tmp_path, lambda _: None).checkpoint
        predictions.predict_split(checkpoint, PLANS["head"], test, machine(), cache_in(tmp_path))
    assert len(ran) == 2  # the training images, the test images


@pytest.mark.parametrize(("has_pool", "compiles"), [(False, False), (True, True)])
def test_only_what_training_has_computed_may_be_compiled(splits, tmp_path, monkeypatch, has_pool, compiles):
    # `predict` runs the layers uncompiled, and promises the same bits for a test split alone.
    asked = []
    monkeypatch.setattr(frozen_prefix, "_passes", {})
    monkeypatch.setattr(torch, "compile", lambda network, dynamic: (asked.append(1), network)[1])
    train, test = splits
    test = dataclasses.replace(test, pool=test.rows) if has_pool else test
    checkpoint = spec_of(PLANS["head"], train).initial
    compiling = dataclasses.replace(machine(), compile=True)
    predictions.predict_split(checkpoint, PLANS["head"], test, compiling, cache_in(tmp_path))
    assert bool(asked) == compiles


def test_the_table_names_everything():
    p_NK = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    table = predictions.table(p_NK, "tuned", 4, ["a.jpg", "b.jpg", "c.jpg"], np.array([0, 0, 1]), ["ant", "bee"])
    assert list(table.columns) == ["strategy", "trial", "path", "truth", "prediction", "p_ant", "p_bee"]
    assert table.iloc[2].to_dict() == {
        "strategy": "tuned",
        "trial": 4,
        "path": "c.jpg",
        "truth": "bee",
        "prediction": "ant",
        "p_ant": 0.7,
        "p_bee": 0.3,
    }


def test_parts_of_a_split_are_found_by_pattern():
    paths = ["val/a/ILSVRC2012_val_1.JPEG", "val/a/n02_1.JPEG", "val/b/ILSVRC2012_val_2.JPEG"]
    found = subsets.parts(paths, {"val": "*/ILSVRC2012_val_*", "none": "nothing"})
    assert {name: mask.tolist() for name, mask in found.items()} == {
        "test": [True, True, True],
        "test/val": [True, False, True],
    }
