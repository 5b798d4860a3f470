"""What is kept of trials that diverge, really trained; trials trained together are in `test_together`."""

import json
from dataclasses import replace

import pytest
import torch
from tiny import COMPUTE, machine, same, spec_of, split_of, stage, strategy, untimed

from transferlab.core.evaluation.predictions import NotFiniteError, predict_split
from transferlab.core.launch.trials import train_trials
from transferlab.core.loading.feature_cache import FeatureCache, FeatureCacheConfig
from transferlab.core.models import factory
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.strategies.optimizers import SGD
from transferlab.core.training import divergence
from transferlab.core.training.engine import DivergedError
from transferlab.core.training.state import StateFile, read
from transferlab.core.training.trial import train_trial

CALM = stage(epochs=1, optimizer=SGD(lr=0.01))
WILD = stage(epochs=2, optimizer=SGD(lr=1e30))
PLAN = strategy(select="best", calm=CALM, wild=WILD)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    return split_of(folder / "train", 12), split_of(folder / "validation", 6, "validation", seed=1)


@pytest.fixture
def states(tmp_path):
    return tmp_path / "unfinished"


def quietly(_):
    pass


@pytest.mark.parametrize("devices", [1, 2], ids=["alone", "data_parallel"])
def test_the_last_saved_epoch_is_kept_in_place_of_the_state_and_predicts(splits, tmp_path, states, devices):
    spec = spec_of(PLAN, *splits, compute=replace(COMPUTE, devices=devices))
    with pytest.raises(DivergedError) as caught:
        train_trials([spec], tmp_path, quietly, states)
    told, file = str(caught.value), tmp_path / "diverged" / "trial_0.safetensors"
    assert told.startswith("the loss became ")
    assert "at learning rate 1e+30; a lower optimizer.lr, a warm-up or clip" in told
    assert told.endswith(f". What it had after epoch 1 is kept in {file}")
    assert list(states.iterdir()) == []
    kept = Checkpoint.read(file)
    assert all(tensor.isfinite().all() for tensor in kept.tensors.values())
    before = replace(spec, strategy=strategy(calm=CALM))
    (calm,) = train_trials([before], tmp_path, quietly).values()
    assert same(kept.tensors, calm.checkpoint.tensors)
    header = calm.checkpoint.header
    assert kept.header == replace(header, selection=divergence.SELECTION, recipe=PLAN.to_json())
    cache = FeatureCache(tmp_path, FeatureCacheConfig())
    assert predict_split(kept, PLAN, splits[1], machine(), cache).p_NK.sum(axis=1) == pytest.approx(1.0)


def test_the_others_go_on_as_they_are_and_what_is_kept_stays(splits, tmp_path, states, monkeypatch, caplog):
    plan = strategy(calm=CALM, more=CALM)
    specs = [spec_of(plan, *splits, trial=trial) for trial in range(3)]
    healthy = train_trials(specs, tmp_path, quietly)
    wild = replace(specs[1], strategy=PLAN)
    told = []
    found = train_trials([specs[0], wild, specs[2]], tmp_path, told.append, states)
    assert [(at.epoch, at.step) for at in told if at.trial == 1][-1] == (3, 1), "it has come to its end"
    assert list(found) == [0, 2]
    file = divergence.path_of(states, 1)
    assert "tiny: trial 2 of 3 stopped: the loss became" in caplog.text
    assert f"What it had after epoch 1 is kept in {file}" in caplog.text
    for number, result in found.items():
        assert same(result.checkpoint.tensors, healthy[number].checkpoint.tensors)
        assert untimed(result.history) == untimed(healthy[number].history)
    assert Checkpoint.read(file).header.trial == 1

    train_trials(specs[:1], tmp_path, quietly, states)
    assert file.exists(), "no trial of its number has finished"
    train_trials(specs, tmp_path, quietly, states)
    assert not file.exists()


def test_where_no_epoch_was_saved_nothing_is_kept_and_an_older_file_goes(splits, tmp_path, states):
    file = divergence.path_of(states, 0)
    file.parent.mkdir()
    file.write_bytes(b"of an older divergence")
    with pytest.raises(DivergedError, match=r"cures it\. No epoch of it had been saved: nothing is kept$"):
        train_trials([spec_of(strategy(wild=WILD), *splits)], tmp_path, quietly, states)
    assert list(file.parent.iterdir()) == []


def test_weights_that_are_not_finite_are_not_kept(splits, tmp_path, states):
    spec = spec_of(PLAN, *splits)

    def stop_in_wild(at):
        if at.stage == "wild":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_trial(spec, tmp_path, stop_in_wild, states)
    path = states / "trial_0.pt"
    state = read(path)
    next(iter(state["weights"].values())).view(-1)[0] = float("inf")
    StateFile(path, json.loads(state["fingerprint"])).write(state, 1)
    with pytest.raises(DivergedError, match=r"What it had after epoch 1 was not finite either: nothing is kept$"):
        train_trials([spec], tmp_path, quietly, states)
    assert not divergence.path_of(states, 0).exists()
    assert list(states.iterdir()) == []


def test_weights_whose_held_out_loss_was_not_finite_are_not_kept(splits, tmp_path, states):
    one_step = stage(epochs=1, optimizer=SGD(lr=1e30), batch_size=12)  # its loss is that of the weights before
    with pytest.raises(DivergedError, match=r"What it had after epoch 1 was not finite either: nothing is kept$"):
        train_trials([spec_of(strategy(one=one_step, more=CALM), *splits)], tmp_path, quietly, states)
    assert not divergence.path_of(states, 0).exists()


@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
@pytest.mark.parametrize("select", ["last", "best"])
def test_a_divergence_in_the_last_step_is_one(splits, tmp_path, states, together, select):
    last = stage(epochs=1, trainable="head", optimizer=SGD(lr=1e38, weight_decay=1e6), batch_size=12)
    specs = [spec_of(strategy(select=select, head=last), *splits, trial=trial) for trial in range(2)]
    if together:
        shared = [name for name in specs[0].initial.tensors if not name.startswith("fc.")]
        initial = replace(specs[0].initial, header=replace(specs[0].initial.header, pretrained=tuple(shared)))
        specs = [replace(spec, initial=initial) for spec in specs]
    told = "the weights after the last step of epoch 1.*learning rate 1e\\+38; .*cures it.*nothing is kept$"
    with pytest.raises(DivergedError, match=told):
        train_trials(specs, tmp_path, quietly, states)
    assert not list(states.glob("*.pt"))


def test_a_divergence_in_the_last_step_shows_without_held_out_images_too(splits, tmp_path):
    plan = strategy(tune=stage(epochs=1, batch_size=12, optimizer=SGD(lr=1e30)))
    with pytest.raises(DivergedError, match="after the last step of epoch 1, or the loss measured with them"):
        train_trials([spec_of(plan, splits[0])], tmp_path, quietly)


def test_a_network_that_gives_nan_is_told_by_its_trial_when_it_is_tested(splits, tmp_path):
    spec = spec_of(strategy(), *splits)
    tensors = {name: t * (1e30 if t.is_floating_point() else 1) for name, t in spec.initial.all_tensors().items()}
    header = replace(spec.initial.header, strategy="tiny", trial=1)
    cache = FeatureCache(tmp_path, FeatureCacheConfig())
    with pytest.raises(NotFiniteError, match="trial 2 of tiny gives NaN for 6 of 6 validation images: its training"):
        predict_split(Checkpoint(tensors, header), spec.strategy, splits[1], machine(), cache)


def test_what_a_killed_process_left_half_written_goes(splits, tmp_path, states):
    folder = divergence.path_of(states, 0).parent
    folder.mkdir()
    (folder / ".unfinished-1").write_bytes(b"half")
    train_trials([spec_of(strategy(calm=CALM), *splits)], tmp_path, quietly, states)
    assert list(folder.iterdir()) == []


def test_a_network_drawn_anew_is_that_of_the_trial(splits, tmp_path, states):
    spec = spec_of(PLAN, *splits, trial=3)
    with pytest.raises(DivergedError):
        train_trials(
            [replace(spec, strategy=strategy(head=replace(CALM, trainable="head"), wild=WILD))],
            tmp_path,
            quietly,
            states,
        )
    kept = Checkpoint.read(divergence.path_of(states, 3))
    drawn = factory.fresh(spec.initial, spec.trial_seed, machine()).state_dict()
    assert {name for name, tensor in drawn.items() if not torch.equal(tensor, kept.tensors[name])} == {
        "fc.weight",
        "fc.bias",
    }
