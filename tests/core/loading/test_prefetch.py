import threading
from dataclasses import replace

import pytest
import torch
from tiny import FLIP_AND_CROP, machine, normed_net, same, spec_of, split_of, stage, state, strategy

from transferlab.core.loading import prefetch
from transferlab.core.loading.features import Features
from transferlab.core.loading.images import Images
from transferlab.core.loading.prefetch import ahead
from transferlab.core.models import freezing
from transferlab.core.strategies import optimizers
from transferlab.core.strategies.optimizers import SGD
from transferlab.core.training import engine
from transferlab.core.training.learners import OneNetwork
from transferlab.core.training.trial import train_trial
from transferlab.core.transforms.operations import ColorJitter

CPU = torch.device("cpu")


def threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.fixture
def forced(monkeypatch):
    monkeypatch.setattr(prefetch, "pays", lambda _: True)


def test_results_come_in_order_one_ahead_of_the_one_in_use():
    begun = [threading.Event() for _ in range(5)]

    def make(number):
        begun[number].set()
        return number**2

    for number, result in enumerate(ahead(make, range(5), CPU)):
        assert result == number**2
        assert number == 4 or begun[number + 1].wait(10)
        assert not any(event.is_set() for event in begun[number + 2 :])
    assert threads() == []


@pytest.mark.parametrize("wanted", [[], [7]])
def test_few_things_or_none_may_be_wanted(wanted):
    assert list(ahead(str, wanted, CPU)) == [str(one) for one in wanted]


def test_what_goes_wrong_in_the_thread_is_raised_where_its_result_is_due():
    results = ahead(lambda number: 6 / number, [2, 1, 0, 3], CPU)
    assert [next(results), next(results)] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert threads() == []


def trained(tmp_path):
    train, held_out = split_of(tmp_path / "train", 11), split_of(tmp_path / "validation", 6, "validation", seed=1)
    operations = (*FLIP_AND_CROP, ColorJitter(contrast=0.3, hue=0.1))
    plan = strategy("transferlab/convnet", tune=stage(augmentation=operations))
    return train_trial(spec_of(plan, train, held_out), tmp_path / "features", lambda _: None)


def test_a_trial_ends_with_the_same_bits(tmp_path, monkeypatch):
    plain, makers, batch = trained(tmp_path / "plain"), set(), Images.batch

    def spy(self, *at):
        makers.add(threading.current_thread().name.split("_")[0])
        return batch(self, *at)

    monkeypatch.setattr(Images, "batch", spy)
    monkeypatch.setattr(prefetch, "pays", lambda _: True)
    ahead_of_time = trained(tmp_path / "ahead")
    assert makers == {"prefetch", "MainThread"}  # the held-out images are the main thread's
    assert [row.loss for row in plain.steps] == [row.loss for row in ahead_of_time.steps]
    assert same(plain.checkpoint.tensors, ahead_of_time.checkpoint.tensors)


class Elsewhere(Features):
    """Features that do not live on the device."""

    on_device = False

    def batch(self, epoch, rows):
        MAKERS.append(threading.current_thread().name)
        return super().batch(epoch, rows)


MAKERS = []


def training(micro_batch=None, on_step=lambda *_: None):
    """With dropout, which draws from torch's global generator in each step; batches of 4, 4 and 3."""
    net, config = normed_net(), stage(optimizer=SGD(lr=0.1), batch_size=4)
    optimizer = optimizers.build(config.optimizer, dict(net.named_parameters()), freezing.apply(net, "all", ()))
    rng = torch.Generator().manual_seed(1)
    images, labels_N = torch.rand(11, 3, 8, 8, generator=rng), torch.randint(2, (11,), generator=rng)
    source, few = Elsewhere((images,), CPU), replace(machine(), micro_batch=micro_batch)
    MAKERS.clear()
    return engine.StageTraining(config, OneNetwork(net), optimizer, source, labels_N, few, [(0,)], on_step)


def outcome(stretch):
    return [stretch.epoch(number, [])[0].losses for number in range(2)], state(stretch.learner.network)


@pytest.mark.parametrize(("micro_batch", "passes"), [(None, 6), (3, 10)])
def test_dropout_and_passes_are_what_they_are_without(monkeypatch, micro_batch, passes):
    losses, weights = outcome(training(micro_batch))
    assert set(MAKERS) == {"MainThread"}
    monkeypatch.setattr(prefetch, "pays", lambda _: True)
    before = torch.get_rng_state()
    losses_ahead, weights_ahead = outcome(training(micro_batch))
    assert len(MAKERS) == passes
    assert "MainThread" not in MAKERS
    assert losses_ahead == losses
    assert same(weights_ahead, weights)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("forced")
@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_epoch_leaves_no_thread_and_can_be_done_again(stop):
    def interrupt(step, _):
        if step == at:
            raise stop

    expected, at = outcome(training()), 2
    stretch = training(on_step=interrupt)
    beginning = state(stretch.learner.network), stretch.state_dict()
    with pytest.raises(stop):
        stretch.epoch(0, [])
    assert threads() == []
    stretch.learner.network.load_state_dict(beginning[0])
    stretch.load_state_dict(beginning[1])
    at = None
    losses, weights = outcome(stretch)
    assert losses == expected[0]
    assert same(weights, expected[1])


@pytest.mark.usefixtures("forced")
def test_what_goes_wrong_in_a_batch_ends_the_epoch(monkeypatch):
    def broken(self, epoch, rows):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Elsewhere, "batch", broken)
    with pytest.raises(torch.OutOfMemoryError):
        training().epoch(0, [])
    assert threads() == []


@pytest.mark.usefixtures("forced")
def test_what_lives_on_the_device_is_cut_by_the_step():
    stretch = training()
    stretch.source = Features(stretch.source.views, CPU)
    assert stretch.source.on_device
    stretch.epoch(0, [])
    assert MAKERS == []


def test_a_cpu_makes_its_own_batches():
    assert not prefetch.pays(CPU)
    assert prefetch.pays(torch.device("cuda"))
