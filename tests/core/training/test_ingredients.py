"""What is off by default, each in the whole training loop: it does what it says, and resumes to the bit."""

import math
from dataclasses import replace

import pytest
import torch
from tiny import COMPUTE, FLIP_AND_CROP, machine, same, spec_of, split_of, stage, strategy, untimed

from transferlab.core.loading.features import Features
from transferlab.core.models import factory
from transferlab.core.models.backbones.model import Model
from transferlab.core.models.freezing import LayerDecay
from transferlab.core.strategies.optimizers import SGD, Adam
from transferlab.core.training import scores, state
from transferlab.core.training.history import SplitResult
from transferlab.core.training.learners import OneNetwork
from transferlab.core.training.trial import train_trial
from transferlab.core.transforms.operations import RandAugment, TrivialAugment
from transferlab.core.transforms.resample import LEAST_SEPARABLE
from transferlab.core.validation import FieldProblems

TUNE = {"epochs": 3, "optimizer": Adam(name="adamw", lr=1e-3), "augmentation": FLIP_AND_CROP}
HEAD = {"trainable": "head", "epochs": 2, "optimizer": SGD(lr=0.5), "augmentation": FLIP_AND_CROP, "views": 2}
INGREDIENTS = {
    "class_weights": {"class_weights": "balanced"},
    "sampler": {"sampler": "balanced"},
    "layer_decay": {"trainable": LayerDecay(layer_decay=0.7)},
    "ema": {"ema": 0.9},
    "mixup_and_cutmix": {"mixup": 0.4, "cutmix": 1.0, "sampler": "balanced"},
    "trivial_augment": {"augmentation": (*FLIP_AND_CROP, TrivialAugment())},
    "rand_augment": {"augmentation": (RandAugment(),)},
    "patience": {"patience": 1, "epochs": 4},
    "size": {"size": LEAST_SEPARABLE, "epochs": 2},  # rendered along columns and rows
    "ema_and_mixup": {"ema": 0.9, "mixup": 0.2, "class_weights": {"red": 2.0}},
}


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("splits")
    train = split_of(folder / "train", 13)
    rare = replace(
        train, rows=train.rows[[0, 2, 4, 6, 8, 10, 12, 1, 3]], labels=train.labels[[0, 2, 4, 6, 8, 10, 12, 1, 3]]
    )
    return rare, split_of(folder / "validation", 6, "validation", seed=1)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("name", INGREDIENTS)
def test_killed_in_any_epoch_it_ends_with_the_same_bits(splits, tmp_path, monkeypatch, name):
    monkeypatch.setattr(state, "SECONDS_BETWEEN_STATES", 0.0)
    ema = {"ema": 0.8} if "ema" in name else {}
    plan = strategy(head=stage(**HEAD, **ema), tune=stage(**{**TUNE, **INGREDIENTS[name]}))
    spec = spec_of(plan, *splits)
    whole = train_trial(spec, tmp_path, lambda _: None)
    recipe = whole.checkpoint.header.recipe["stages"]["tune"]
    assert all(key in recipe for key in INGREDIENTS[name])
    seen = set()

    def kill_once_in_each_epoch(at):
        if not at.doing and at.epoch not in seen and at.epoch > 1:
            seen.add(at.epoch)
            raise Killed

    result = None
    while result is None:
        try:
            result = train_trial(spec, tmp_path, kill_once_in_each_epoch, tmp_path / "states")
        except Killed:
            continue
    assert len(seen) >= 2
    assert same(result.checkpoint.tensors, whole.checkpoint.tensors)
    assert untimed(result.history) == untimed(whole.history)
    assert result.steps == whole.steps


def test_each_changes_what_is_trained(splits, tmp_path):
    def trained(**changes):
        plan = strategy(tune=stage(**{**TUNE, "epochs": 1, **changes}))
        return train_trial(spec_of(plan, *splits), tmp_path, lambda _: None).checkpoint.tensors

    found = [trained(), *(trained(**INGREDIENTS[name]) for name in INGREDIENTS if name != "patience")]
    assert not any(same(found[i], found[j]) for i in range(len(found)) for j in range(i))


# ---- averaged weights ------------------------------------------------------------------------------------------------
def test_the_average_is_evaluated_and_saved_with_statistics_of_its_own(splits, tmp_path):
    result = train_trial(spec_of(strategy(tune=stage(**TUNE, ema=0.9)), *splits), tmp_path, lambda _: None)
    plain = train_trial(spec_of(strategy(tune=stage(**TUNE)), *splits), tmp_path, lambda _: None)
    assert [row.loss for row in result.steps] == [row.loss for row in plain.steps]  # the weights train as they would
    tensors, others = result.checkpoint.tensors, plain.checkpoint.tensors
    moved = {name for name in tensors if not torch.equal(tensors[name], others[name])}
    assert {"fc.weight", "bn1.running_mean"} <= moved
    net = factory.load(result.checkpoint, machine())
    images = Features((torch.cat(list(_held_out(splits, result))),), torch.device("cpu"))
    [found] = scores.evaluate(OneNetwork(net), images.in_order(), torch.from_numpy(splits[1].labels), machine())
    assert found.loss == pytest.approx(result.history[-1].loss, rel=1e-5)


def _held_out(splits, result):
    from transferlab.core.loading.images import Images

    return Images(splits[1], result.checkpoint.header.view, machine()).in_order()


def test_the_next_stage_begins_with_the_average(splits, tmp_path):
    still = SGD(lr=1e-12, momentum=0.0)
    first = {"epochs": 2, "optimizer": SGD(lr=0.05), "ema": 0.9}
    short = train_trial(spec_of(strategy(one=stage(**first)), *splits), tmp_path, lambda _: None)
    plan = strategy(one=stage(**first), two=stage(epochs=1, optimizer=still, trainable="head"))
    long = train_trial(spec_of(plan, *splits), tmp_path, lambda _: None)
    assert torch.allclose(
        short.checkpoint.tensors["layer1.0.conv1.weight"], long.checkpoint.tensors["layer1.0.conv1.weight"]
    )


# ---- mixed images ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("micro_batch", [1, 3])
def test_mixed_and_weighted_batches_may_be_cut_into_passes(splits, tmp_path, micro_batch):
    frozen_norm = ((r"(.*bn\d|.*downsample\.2|conv1\.[14])\..*", None), (".*", 1.0))
    plan = strategy(
        tune=stage(trainable=frozen_norm, mixup=0.4, cutmix=1.0, class_weights="balanced", sampler="balanced")
    )
    losses = []
    for limit in (None, micro_batch):
        spec = spec_of(plan, *splits, compute=replace(COMPUTE, micro_batch=limit))
        losses.append([row.loss for row in train_trial(spec, tmp_path, lambda _: None).steps])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("alpha", ["mixup", "cutmix"])
def test_mixed_images_have_no_views_to_keep(alpha):
    assert stage(**{alpha: 0.2}).distinct_views is None
    with pytest.raises(FieldProblems, match=f"{alpha}.*set views to null"):
        stage(**{alpha: 0.2}, views=2, augmentation=FLIP_AND_CROP)


# ---- early stopping --------------------------------------------------------------------------------------------------
def test_a_stage_ends_when_its_patience_is_lost_and_the_next_begins(splits, tmp_path, monkeypatch):
    losses = iter([1.0, 0.9, 0.95, 0.93, 0.8, 0.7, 0.6])  # before training, then each epoch of two stages
    monkeypatch.setattr(scores, "evaluate", lambda *_: [SplitResult(next(losses), 0.5)])
    patient = stage(epochs=9, patience=2, optimizer=SGD(lr=0.01), monitor="loss")
    plan = strategy(one=patient, two=replace(patient, epochs=3))
    told = []
    result = train_trial(spec_of(plan, *splits), tmp_path, told.append)
    assert [(at.epoch, at.epochs) for at in told if at.loss is not None] == [
        *((1, 12), (2, 12), (3, 6)),
        *((4, 6), (5, 6), (6, 6)),
    ]
    course = [(row.epoch, row.stage) for row in result.history if row.split == "train"]
    assert course == [(1, "one"), (2, "one"), (3, "one"), (4, "two"), (5, "two"), (6, "two")]
    assert result.checkpoint.header.epoch == 6


def test_patience_decides_and_so_needs_validation_images(splits):
    plan = strategy(tune=stage(patience=2))
    assert plan.decides
    with pytest.raises(ValueError, match="decides by validation figures"):
        spec_of(plan, splits[0], None)


# ---- stochastic depth ------------------------------------------------------------------------------------------------
def test_drop_path_is_in_the_network_that_trains_and_not_in_the_one_that_predicts(splits, tmp_path):
    def losses(rate):
        plan = replace(strategy(tune=stage(epochs=1)), model=Model(name="timm/test_vit", drop_path=rate))
        result = train_trial(spec_of(plan, *splits), tmp_path, lambda _: None)
        factory.load(result.checkpoint, machine())
        return [row.loss for row in result.steps]

    assert losses(None) == losses(0.0)
    assert losses(0.9) != losses(0.0)
    assert all(map(math.isfinite, losses(0.9)))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"ema": 1.0}, "ema"),
        ({"ema": 0.0}, "ema"),
        ({"patience": 0}, "patience"),
        ({"mixup": 0.0}, "mixup"),
        ({"cutmix": -1.0}, "cutmix"),
        ({"class_weights": {"red": 0.0}}, r"class_weights\.red"),
    ],
)
def test_impossible_values_are_refused_by_key(changes, key):
    with pytest.raises(FieldProblems, match=key):
        stage(**changes)
