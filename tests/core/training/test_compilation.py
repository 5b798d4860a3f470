from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import COMPUTE, FLIP_AND_CROP, machine, spec_of, split_of, stage, strategy
from torch import nn

from transferlab.core.loading import gpu_cache
from transferlab.core.models import compiled_pass, factory, freezing
from transferlab.core.models.backbones.model import Pooled
from transferlab.core.runtime.device import resolve
from transferlab.core.training import compilation
from transferlab.core.training.compilation import LONG_STAGE_PIXELS, SMALL_BATCH_PIXELS, compiles_stage, mode
from transferlab.core.training.trial import state_file, train_trial


@pytest.fixture(autouse=True)
def _compilers(monkeypatch):
    monkeypatch.setattr(compilation, "can_compile", lambda: True)


LONG = stage(epochs=20, batch_size=32)
IMAGES = int(LONG_STAGE_PIXELS / (20 * 224**2))  # no longer short with one more


def on(device="cuda", **changes):
    return replace(machine(), device=torch.device(device), **changes)


@pytest.mark.parametrize(
    ("device", "images", "head_alone", "compiles"),
    [
        ("cuda", IMAGES + 1, False, True),
        ("cuda", IMAGES, False, False),
        ("cuda", 100 * IMAGES, True, False),
        ("cpu", 100 * IMAGES, False, False),
        ("mps", 100 * IMAGES, False, False),
    ],
)
def test_auto_compiles_long_stages_on_cuda(device, images, head_alone, compiles):
    assert compiles_stage(on(device), LONG, images, 224, head_alone) == compiles
    for asked in (True, False):
        assert compiles_stage(on(device, compile=asked), LONG, images, 224, head_alone) == asked


def test_auto_does_not_compile_where_it_cannot(monkeypatch):
    monkeypatch.setattr(compilation, "can_compile", lambda: False)
    assert not compiles_stage(on(), LONG, 100 * IMAGES, 224, head_alone=False)
    assert compiles_stage(on(compile=True), LONG, 1, 224, head_alone=False)  # asked for: torch says what it lacks


def test_fewer_epochs_and_smaller_images_are_shorter_stages():
    assert compiles_stage(on(), LONG, IMAGES + 1, 224, head_alone=False)
    assert not compiles_stage(on(), LONG, IMAGES + 1, 223, head_alone=False)
    assert not compiles_stage(on(), replace(LONG, epochs=19), IMAGES + 1, 224, head_alone=False)


@pytest.mark.parametrize(
    ("changes", "batch_size", "size", "how"),
    [
        ({}, 64, 128, "reduce-overhead"),
        ({}, 65, 128, "default"),
        ({}, 64, 129, "default"),
        ({"device": "cpu"}, 64, 128, "default"),
        ({"device": "mps"}, 64, 128, "default"),
        ({"devices": 2}, 64, 128, "default"),
        ({"micro_batch": 64}, 64, 128, "default"),  # the last batch may have 65 images
        ({"micro_batch": 65}, 64, 128, "reduce-overhead"),
    ],
)
def test_small_batches_in_one_pass_on_one_gpu_run_as_graphs(changes, batch_size, size, how):
    assert mode(on(**changes), stage(batch_size=batch_size), size, on_device=True) == how
    assert mode(on(**changes), stage(batch_size=batch_size), size, on_device=False) == "default"
    assert SMALL_BATCH_PIXELS == 64 * 128**2


@pytest.mark.parametrize(
    ("rows", "is_head_alone"),
    [
        ("head", True),
        ("all", False),
        (((r"fc\.weight", 1.0), (".*", None)), True),
        (((r"fc\..*", 1.0), (r"fc2\..*", 1.0), (".*", None)), False),
    ],
)
def test_a_policy_may_train_the_head_alone(rows, is_head_alone):
    names = ["body.weight", "fc.weight", "fc.bias", "fc2.weight"]
    assert freezing.trains_head_alone(rows, names, ("fc",)) == is_head_alone


def fingerprint(splits, **compute):
    plan = strategy(head=stage(trainable="head"), fresh=stage(trainable="head", views=None), tune=stage(size=24))
    spec = spec_of(plan, *splits, compute=replace(COMPUTE, **compute))
    network = factory.fresh(spec.initial, spec.trial_seed, resolve(spec.compute))
    return state_file(splits[0].store.folder, [spec], resolve(spec.compute), network).fingerprint


def test_a_state_is_of_stages_compiled_or_not(tmp_path, monkeypatch):
    splits = split_of(tmp_path / "train", 11), split_of(tmp_path / "validation", 6, "validation", seed=1)
    auto = fingerprint(splits)
    assert auto == fingerprint(splits, compile=False)
    assert auto == fingerprint(splits, micro_batch=4)
    compiled = fingerprint(splits, compile=True)
    assert {key for key in auto if auto[key] != compiled[key]} == {
        f"compiled stages.{n}" for n in ("head", "fresh", "tune")
    }
    features = ("stage head", "stage fresh", "stage tune", "held-out images")
    assert compiled.keys() - auto.keys() == {f"compiled features.{n}" for n in features}
    asked = []
    monkeypatch.setattr(compilation, "compiles_stage", lambda _, stage, *args: bool(asked.append(args)))
    fingerprint(splits)
    assert asked == [(11, 32, True), (11, 32, True), (11, 24, False)]


def test_what_trains_on_the_features_of_many_images_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled_pass, "can_compile", lambda: True)
    train, held_out = split_of(tmp_path / "train", 11), split_of(tmp_path / "validation", 6, "validation", seed=1)
    plan = strategy(
        plain=stage(size=24),
        kept=stage(augmentation=FLIP_AND_CROP, views=3),
        fresh=stage(augmentation=FLIP_AND_CROP, views=None),
    )
    spec = spec_of(replace(plan, model=replace(plan.model, pooled=Pooled())), train, held_out)
    pool = replace(train, pool=np.arange(40))

    def compiled(most, train=train, **changes):
        monkeypatch.setattr(compiled_pass, "LONG_PREFIX_PIXELS", most - 1)
        return set(compilation.compiled_features(replace(spec, train=train), replace(machine(), **changes)))

    assert compiled(33 * 32**2) == {"stage kept"}
    assert compiled(33 * 32**2 + 1) == compiled(1, compile=False) == compiled(1, device=torch.device("cuda")) == set()
    assert compiled(11 * 32**2) == {"stage kept", "beginning"}
    assert compiled(6 * 32**2) == {"stage kept", "beginning", "stage plain", "held-out images"}
    assert compiled(120 * 32**2, pool) == {"stage kept"}


def test_the_stage_trains_with_what_was_decided(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(compilation, "compiled", lambda network, how: (made.append(how), network)[1])
    train = split_of(tmp_path / "train", 11)
    for compile_ in ("auto", True):
        spec = spec_of(strategy(), train, compute=replace(COMPUTE, compile=compile_))
        train_trial(spec, tmp_path, lambda _: None)
    assert made == [None, "default"]


@pytest.mark.parametrize("moves", [True, False])
def test_graphs_are_for_images_that_are_on_the_device(tmp_path, monkeypatch, moves):
    asked = []
    monkeypatch.setattr(compilation, "mode", lambda *args: asked.append(args[1:]))
    monkeypatch.setattr(gpu_cache, "pays", lambda *_: moves)
    plan = stage(size=24)
    spec = spec_of(strategy(tune=plan), split_of(tmp_path / "train", 11))
    train_trial(spec, tmp_path, lambda _: None)
    assert asked == [(plan, 24, moves)]


def test_kernels_depend_on_the_size_of_a_batch_and_not_on_what_came_before(monkeypatch):
    made, used, compile_ = [], [], torch.compile

    def backend(graph, _):
        made.append(graph)
        number = len(made)
        return lambda *inputs: (used.append(number), graph.forward(*inputs))[1]

    monkeypatch.setattr(torch, "compile", lambda network, mode, **how: compile_(network, backend=backend, **how))
    network = nn.Sequential(nn.Linear(3, 5), nn.ReLU())
    for of_stage in (1, 3):
        runs = compilation.compiled(network, "default")
        used.clear()
        for images in (4, 4, 3, 4, 4, 3):
            runs(torch.rand(images, 3))
        assert used == [of_stage, of_stage, of_stage + 1] * 2
