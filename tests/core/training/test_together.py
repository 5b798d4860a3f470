"""Trials trained together are what they are alone."""

import dataclasses
import random
import time

import pytest
import torch
from tiny import COMPUTE, FLIP_AND_CROP, same, spec_of, split_of, stage, strategy, untimed

from transferlab.core.launch.trials import fingerprints, train_trials
from transferlab.core.loading.features import Features
from transferlab.core.models import factory
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.strategies.optimizers import SGD, Adam, Clip
from transferlab.core.strategies.schedules import OneCycle, Plateau
from transferlab.core.strategies.strategy import Strategy
from transferlab.core.training import state, together
from transferlab.core.training.engine import DivergedError
from transferlab.core.training.trial import train_trial

HEAD = {"trainable": "head", "epochs": 3, "optimizer": SGD(lr=0.5), "augmentation": FLIP_AND_CROP, "views": 2}


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    return split_of(folder / "train", 11), split_of(folder / "validation", 6, "validation", seed=1)


def specs_of(splits, count=3, select="last", held_out=True, model="timm/test_resnet", **head):
    plan: Strategy = strategy(model, select, head=stage(**{**HEAD, **head}))
    first = spec_of(plan, splits[0], splits[1] if held_out else None)
    # As with pretrained weights: all trials share all but the head.
    head_of = tuple(f"{module}." for module in first.initial.header.head)
    shared = [name for name in first.initial.tensors if not name.startswith(head_of)]
    header = dataclasses.replace(first.initial.header, pretrained=tuple(shared))
    initial = dataclasses.replace(first.initial, header=header)
    return [dataclasses.replace(first, initial=initial, trial=number) for number in range(count)]


def quietly(_):
    pass


STAGES = {
    "sgd": {},
    "adamw_one_cycle": {"optimizer": Adam(name="adamw", lr=0.05, weight_decay=0.1), "schedule": OneCycle()},
    "smooth_clipped_nesterov": {
        "optimizer": SGD(lr=0.5, nesterov=True, weight_decay=0.01),
        "label_smoothing": 0.1,
        "clip": Clip(by="value", at=0.05),
    },
    "one_view": {"augmentation": (), "batch_size": 3},
    "weighted_and_averaged": {"class_weights": {"red": 3.0}, "sampler": "balanced", "ema": 0.9, "label_smoothing": 0.1},
}


@pytest.mark.parametrize("select", ["last", "best"])
@pytest.mark.parametrize("name", STAGES)
def test_the_numbers_are_those_of_the_trials_alone(splits, tmp_path, name, select):
    specs = specs_of(splits, select=select, **STAGES[name])
    assert together.could_train(specs)
    joint = together.train(specs, tmp_path, quietly, None)
    assert list(joint) == [0, 1, 2]
    for spec in specs:
        alone, one = train_trial(spec, tmp_path, quietly), joint[spec.trial]
        for table in ("history", "steps"):
            rows, others = untimed(getattr(alone, table)), untimed(getattr(one, table))
            for row, other in zip(rows, others, strict=True):
                assert row == pytest.approx(other, abs=1e-5)
        first_header, second_header = alone.checkpoint.header, one.checkpoint.header
        assert dataclasses.replace(first_header, metrics={}) == dataclasses.replace(second_header, metrics={})
        for tensor, value in alone.checkpoint.tensors.items():
            assert torch.allclose(value, one.checkpoint.tensors[tensor], atol=1e-5), tensor
        for figure in ("total_parameters", "trainable_parameters", "epochs", "views", "feature_mb"):
            assert getattr(alone.cost, figure) == getattr(one.cost, figure)


def test_the_seconds_of_trials_are_those_after_their_features_are_there(splits, tmp_path):
    began = time.perf_counter()
    for _ in ("computed", "from the cache"):
        costs = [result.cost for result in together.train(specs_of(splits), tmp_path, quietly, None).values()]
        spent, began = time.perf_counter() - began, time.perf_counter()
        assert all(cost.seconds > 0 and cost.seconds >= cost.seconds_per_epoch for cost in costs)
        assert sum(cost.seconds for cost in costs) < spent


def test_each_trial_has_a_head_of_its_own_and_the_same_prefix(splits, tmp_path):
    one, two = together.train(specs_of(splits, count=2), tmp_path, quietly, None).values()
    differing = {
        n for n, tensor in one.checkpoint.tensors.items() if not torch.equal(tensor, two.checkpoint.tensors[n])
    }
    assert differing == {"fc.weight", "fc.bias"}
    assert one.steps[0].loss != two.steps[0].loss


def test_without_held_out_images_there_is_no_held_out_curve(splits, tmp_path):
    one, _ = together.train(specs_of(splits, count=2, held_out=False), tmp_path, quietly, None).values()
    assert {row.split for row in one.history} == {"train"}


# ---- what is not trained together ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "changes",
    [
        {"count": 1},
        {"views": None},
        {"schedule": Plateau()},
        {"clip": Clip(by="norm", at=1.0)},
        {"patience": 2},
        {"views": None, "augmentation": (), "mixup": 0.2},
    ],
    ids=["one_trial", "fresh_views", "plateau", "clip_by_norm", "patience", "mixup"],
)
def test_config_that_looks_at_one_trial_trains_alone(splits, changes):
    assert not together.could_train(specs_of(splits, **changes))


def test_several_stages_train_alone(splits):
    (spec,) = specs_of(splits, count=1)
    plan = strategy(head=stage(**HEAD), more=stage(**HEAD))
    specs = [dataclasses.replace(spec, strategy=plan, trial=trial) for trial in range(2)]
    assert not together.could_train(specs)


LAST_BLOCK = ((r"(layer4|fc)\..*", 1.0), (".*", None))


@pytest.mark.parametrize("trainable", [LAST_BLOCK, "all"], ids=["last_block", "all"])
def test_more_than_heads_trains_alone_and_what_a_trial_depends_on_says_so(splits, trainable):
    specs = specs_of(splits, count=3, epochs=1, trainable=trainable, views=None, augmentation=())
    assert not together.could_train(specs)
    assert fingerprints(specs[:2])[1] == fingerprints(specs)[1], "more trials change no other"


def test_more_than_linear_layers_trains_alone(splits, tmp_path):
    specs = specs_of(splits, count=2, epochs=1, optimizer=SGD(lr=0.01), model="torchvision/mobilenet_v3_small")
    assert together.could_train(specs)
    assert together.train(specs, tmp_path, quietly, None) is None
    results = train_trials(specs, tmp_path, quietly)
    for spec in specs:
        alone = train_trial(spec, tmp_path, quietly)
        assert same(alone.checkpoint.tensors, results[spec.trial].checkpoint.tensors)


def test_config_that_asks_for_trials_in_processes_of_their_own_changes_nothing(splits, tmp_path, caplog):
    asked = dataclasses.replace(COMPUTE, parallel_trials=2)
    specs = [dataclasses.replace(spec, compute=asked) for spec in specs_of(splits)]
    with caplog.at_level("INFO", "transferlab"):
        found = train_trials(specs, tmp_path, quietly)
    assert "at a time" not in caplog.text
    assert [result.cost.parallel_trials for result in found.values()] == [1, 1, 1]


def test_bodies_drawn_anew_train_alone(splits, tmp_path):
    specs = specs_of(splits, count=2)
    drawn = dataclasses.replace(specs[0].initial, header=dataclasses.replace(specs[0].initial.header, pretrained=()))
    assert together.train([dataclasses.replace(s, initial=drawn) for s in specs], tmp_path, quietly, None) is None


def test_a_scaled_loss_trains_alone(splits, tmp_path):
    half = dataclasses.replace(COMPUTE, precision="float16")
    specs = [dataclasses.replace(spec, compute=half) for spec in specs_of(splits)]
    assert together.train(specs, tmp_path, quietly, None) is None


# ---- faults ----------------------------------------------------------------------------------------------------------
def test_a_trial_that_diverges_leaves_the_others_as_they_are(splits, tmp_path, monkeypatch, caplog):
    specs = specs_of(splits)
    healthy = train_trials(specs, tmp_path, quietly)
    fresh = factory.fresh

    def poisoned(initial, seed, machine, *more):
        net = fresh(initial, seed, machine, *more)
        if seed == specs[1].trial_seed:
            with torch.no_grad():
                net.fc.weight[0, 0] = float("nan")
        return net

    monkeypatch.setattr(factory, "fresh", poisoned)
    found = train_trials(specs, tmp_path, quietly, tmp_path / "states")
    assert list(found) == [0, 2]
    assert "trial 2 of 3 stopped: the loss became nan at step 1 of epoch 1" in caplog.text
    assert "No epoch of it had been saved: nothing is kept" in caplog.text
    assert not (tmp_path / "diverged").exists()
    for number, result in found.items():
        assert same(result.checkpoint.tensors, healthy[number].checkpoint.tensors)
        assert untimed(result.history) == untimed(healthy[number].history)


@pytest.fixture
def second_of_three_diverges(monkeypatch):
    """In its second epoch."""
    batch = Features.batch

    def poisoned(self, epoch, rows):
        x = batch(self, epoch, rows).clone()
        if epoch == 1 and rows.ndim == 2:
            x[1] = float("inf")
        return x

    with monkeypatch.context() as patch:
        patch.setattr(Features, "batch", poisoned)
        yield patch


@pytest.mark.parametrize("select", ["last", "best"])
def test_what_it_had_before_is_kept_until_it_finishes(splits, tmp_path, select, second_of_three_diverges, caplog):
    specs, states = specs_of(splits, select=select), tmp_path / "states"
    found = train_trials(specs, tmp_path, quietly, states)
    (file,) = (tmp_path / "diverged").iterdir()
    assert file.name == "trial_1.safetensors"
    (told,) = (record.getMessage() for record in caplog.records if record.levelname == "ERROR")
    assert "at step 1 of epoch 2" in told
    assert told.endswith(f"usually cures it. What it had after epoch 1 is kept in {file}")
    kept = Checkpoint.read(file)
    assert (kept.header.trial, kept.header.epoch, kept.header.strategy) == (1, 1, "tiny")

    second_of_three_diverges.undo()
    short = train_trials(specs_of(splits, epochs=1), tmp_path, quietly)[1].checkpoint
    assert same(kept.tensors, short.tensors)
    assert kept.header.metrics == short.header.metrics
    whole = train_trials(specs, tmp_path, quietly)
    assert list(found) == [0, 2]
    for number, result in found.items():
        assert same(result.checkpoint.tensors, whole[number].checkpoint.tensors)
    (states / "trial_0.pt").unlink()
    train_trials(specs, tmp_path, quietly, states)
    assert not file.exists()


def test_what_is_kept_of_it_survives_a_kill_of_the_others(
    splits, tmp_path, monkeypatch, second_of_three_diverges, caplog
):
    monkeypatch.setattr(state, "SECONDS_BETWEEN_STATES", 0.0)

    def kill_in_epoch_3(at):
        if at.epoch == 3 and not at.doing:
            raise Killed

    specs = specs_of(splits)
    with pytest.raises(Killed):
        train_trials(specs, tmp_path, kill_in_epoch_3, tmp_path / "states")
    (file,) = (tmp_path / "diverged").iterdir()
    before = file.read_bytes()
    assert list(train_trials(specs, tmp_path, quietly, tmp_path / "states")) == [0, 2]
    assert f"after epoch 1 is kept in {file}" in caplog.text
    assert file.read_bytes() == before


def test_where_all_diverge_it_is_an_error_and_no_state_stays(splits, tmp_path, monkeypatch):
    monkeypatch.setattr(state, "SECONDS_BETWEEN_STATES", 0.0)
    states = tmp_path / "states"
    with pytest.raises(DivergedError, match=r"lower optimizer\.lr"):
        train_trials(specs_of(splits, optimizer=SGD(lr=1e38, weight_decay=1.0)), tmp_path, quietly, states)
    assert list(states.iterdir()) == []


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment_it_ends_with_the_same_bits(splits, tmp_path, monkeypatch, seed):
    monkeypatch.setattr(state, "SECONDS_BETWEEN_STATES", 0.0)
    more = STAGES["weighted_and_averaged"] if seed % 2 else {}
    specs = specs_of(splits, select="best", optimizer=Adam(name="adamw", lr=0.05), schedule=OneCycle(), **more)
    whole = train_trials(specs, tmp_path / "whole", quietly)
    rng, kills, results = random.Random(seed), 0, None
    while results is None:
        moments = iter(range(1, 12))
        last = rng.choice(range(1, 12))

        def report(_, moments=moments, last=last):
            if next(moments, None) == last:
                raise Killed

        try:
            results = train_trials(specs, tmp_path, report if kills < 4 else quietly, tmp_path / "states")
        except Killed:
            kills += 1
    assert kills
    for number, result in results.items():
        assert same(result.checkpoint.tensors, whole[number].checkpoint.tensors)
        assert untimed(result.history) == untimed(whole[number].history)
        assert result.steps == whole[number].steps


def test_the_state_of_other_trials_is_refused(splits, tmp_path):
    specs, states = specs_of(splits), tmp_path / "states"
    train_trials(specs, tmp_path, quietly, states)
    for others in (specs[:2], specs[:1]):
        with pytest.raises(state.StateError, match=r"number of trials together was 3, now"):
            train_trials(others, tmp_path, quietly, states)
