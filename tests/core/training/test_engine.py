import math
import shutil
from dataclasses import replace

import pytest
import torch
from sklearn.metrics import log_loss
from tiny import machine, normed_net, same, stage, state
from torch import nn

from transferlab.core.loading.features import Features
from transferlab.core.models import forward, freezing
from transferlab.core.runtime.compute import Compute
from transferlab.core.runtime.device import resolve
from transferlab.core.strategies import optimizers
from transferlab.core.strategies.optimizers import SGD, Clip
from transferlab.core.strategies.schedules import OneCycle
from transferlab.core.training import engine, scores
from transferlab.core.training.engine import DivergedError, StageTraining
from transferlab.core.training.learners import OneNetwork

CPU = torch.device("cpu")
N, K = 11, 3
RNG = torch.Generator().manual_seed(0)
X = torch.randn(N, 4, generator=RNG)
Y = torch.randint(K, (N,), generator=RNG)
STILL = SGD(lr=1e-12, momentum=0.0)  # so slow that the weights stay


class Recorded(Features):
    """Features that remember which images were asked for."""

    asked: list

    def batch(self, epoch, rows):
        self.asked.append(rows.tolist())
        return super().batch(epoch, rows)


def recorded(*views):
    source = Recorded(views or (X,), CPU)
    object.__setattr__(source, "asked", [])
    return source


def linear():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, K))


def training(net, source, labels=Y, seed=(0, "tune"), on_step=lambda *_: None, **changes):
    config = stage(**{"optimizer": STILL, **changes})
    optimizer = optimizers.build(config.optimizer, dict(net.named_parameters()), freezing.apply(net, "all", ()))
    return StageTraining(config, OneNetwork(net), optimizer, source, labels, machine(), [seed], on_step)


def epoch(stretch, number=0):
    """Train an epoch of the only trial."""
    [result] = stretch.epoch(number, [])
    if isinstance(result, DivergedError):
        raise result
    return result


def probabilities(net, x=X):
    return net(x).detach().double().softmax(dim=1).numpy()


def test_loss_and_accuracy_are_means_over_images_and_not_over_batches():
    net, source = linear(), recorded()
    result = epoch(training(net, source, batch_size=4))
    assert [len(rows) for rows in source.asked] == [4, 4, 3]
    assert result.loss == pytest.approx(log_loss(Y, probabilities(net), labels=range(K)), rel=1e-5)
    assert result.accuracy == pytest.approx((probabilities(net).argmax(1) == Y.numpy()).mean())
    per_batch = [log_loss(Y[rows], probabilities(net)[rows], labels=range(K)) for rows in source.asked]
    assert result.losses == pytest.approx(per_batch, rel=1e-5)
    assert sum(per_batch) / 3 != pytest.approx(result.loss, rel=1e-3)


def test_every_image_counts_once_in_every_epoch_in_an_order_of_its_own():
    source, seen = recorded(), []
    stretch = training(linear(), source, batch_size=4, on_step=lambda *at: seen.append(at))
    orders = []
    for number in range(3):
        source.asked.clear()
        epoch(stretch, number)
        orders.append([row for rows in source.asked for row in rows])
        assert sorted(orders[-1]) == list(range(N))
    assert len({tuple(order) for order in [*orders, range(N)]}) == 4
    assert seen == [(1, 3), (2, 3), (3, 3)] * 3


def test_a_step_is_gradient_descent_on_the_cross_entropy_of_logits():
    net, lr = linear(), 0.3
    weight, bias = (p.detach().clone() for p in net.parameters())
    one_hot = torch.eye(K)[Y]
    error = ((X @ weight.T + bias).softmax(dim=1) - one_hot) / N  # the gradient by the logits, by hand
    epoch(training(net, recorded(), optimizer=SGD(lr=lr, momentum=0.0), batch_size=N))
    assert torch.allclose(net[0].weight, weight - lr * error.T @ X, atol=1e-6)
    assert torch.allclose(net[0].bias, bias - lr * error.sum(0), atol=1e-6)


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 100])
def test_a_batch_in_several_passes_trains_as_in_one(micro_batch):
    def trained_in(passes):
        net, config = linear(), stage(optimizer=SGD(lr=0.3), batch_size=4, clip=Clip(by="norm", at=0.1))
        optimizer = optimizers.build(config.optimizer, dict(net.named_parameters()), freezing.apply(net, "all", ()))
        few = replace(machine(), micro_batch=passes)
        stretch = StageTraining(config, OneNetwork(net), optimizer, recorded(), Y, few, [(0,)], lambda *_: None)
        results = [epoch(stretch, number) for number in range(2)]
        return [loss for result in results for loss in result.losses], [r.accuracy for r in results], state(net)

    losses, accuracies, weights = trained_in(micro_batch)
    losses_at_once, accuracies_at_once, weights_at_once = trained_in(None)
    assert losses == pytest.approx(losses_at_once, rel=1e-6)
    assert accuracies == accuracies_at_once
    assert all(torch.allclose(weights[name], weights_at_once[name], atol=1e-6) for name in weights)


def test_no_pass_is_larger_than_a_micro_batch():
    net, sizes = linear(), []
    net.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    few = replace(machine(), micro_batch=3)
    config = stage(optimizer=STILL, batch_size=N)
    optimizer = optimizers.build(config.optimizer, dict(net.named_parameters()), freezing.apply(net, "all", ()))
    epoch(StageTraining(config, OneNetwork(net), optimizer, recorded(), Y, few, [(0,)], lambda *_: None))
    assert sizes == [3, 3, 3, 2]
    sizes.clear()
    scores.evaluate(OneNetwork(net), iter([X]), Y, few)
    assert sizes == [3, 3, 3, 2]


@pytest.mark.parametrize(("micro_batch", "sizes"), [(2, [2, 2, 2]), (1, [2] * 5), (3, [3, 2]), (4, [3, 2])])
def test_batch_norm_never_trains_on_a_pass_of_one_image(micro_batch, sizes):
    torch.manual_seed(0)
    net, shown = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, K)), []
    net.register_forward_pre_hook(lambda _, args: shown.append(len(args[0])))
    config = stage(optimizer=SGD(lr=0.1), batch_size=5)
    optimizer = optimizers.build(config.optimizer, dict(net.named_parameters()), freezing.apply(net, "all", ()))
    few, source = replace(machine(), micro_batch=micro_batch), Features((X[:5],), CPU)
    result = epoch(StageTraining(config, OneNetwork(net), optimizer, source, Y[:5], few, [(0,)], lambda *_: None))
    assert shown == sizes
    assert math.isfinite(result.loss)
    assert result.accuracy * 5 == pytest.approx(round(result.accuracy * 5)), "images of weight zero count in nothing"


def test_a_frozen_batch_norm_needs_no_second_image():
    net = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, K))
    freezing.apply(net, ((r"1\..*", 1.0), (".*", None)), ())
    freezing.train_mode(net)
    assert engine.least_images(net) == 1
    freezing.apply(net, "all", ())
    freezing.train_mode(net)
    assert engine.least_images(net) == 2


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch compiles for the CPU with a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # of torch's compiler
@pytest.mark.parametrize("how", ["default", "reduce-overhead"])
def test_a_compiled_step_trains_the_same_weights(how, monkeypatch):
    marks, modes, compile_ = [], [], torch.compile
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: marks.append(None))
    monkeypatch.setattr(torch, "compile", lambda net, **how: (modes.append(how["mode"]), compile_(net, **how))[1])

    def trained_in(how):
        net, config = linear(), stage(optimizer=SGD(lr=0.3), batch_size=4)
        optimizer = optimizers.build(config.optimizer, dict(net.named_parameters()), freezing.apply(net, "all", ()))
        learner = OneNetwork(net)
        learner.begin_stage(net, how)
        epoch(StageTraining(config, learner, optimizer, recorded(), Y, machine(), [(0,)], lambda *_: None))
        return state(net)

    plain, compiled = trained_in(None), trained_in(how)
    assert all(torch.allclose(plain[name], compiled[name], atol=1e-6) for name in plain)
    assert modes == [how]
    assert len(marks) == (3 if how == "reduce-overhead" else 0)  # a mark before each of three steps


def test_label_smoothing_and_clipping_reach_the_step():
    plain = epoch(training(linear(), recorded())).loss
    assert epoch(training(linear(), recorded(), label_smoothing=0.3)).loss != pytest.approx(plain)
    net = linear()
    before = state(net)
    clip = Clip(by="norm", at=1e-3)
    epoch(training(net, recorded(), optimizer=SGD(lr=1.0, momentum=0.0), clip=clip, batch_size=N))
    moved = torch.cat([(after - before[name]).flatten() for name, after in net.state_dict().items()])
    assert moved.norm() == pytest.approx(1e-3, rel=1e-3)


def test_the_schedule_sets_rate_and_momentum_before_every_step():
    stretch = training(linear(), recorded(), epochs=2, batch_size=4, schedule=OneCycle(), optimizer=SGD(lr=0.5))
    rates = [rate for number in range(2) for rate in epoch(stretch, number).rates]
    theirs = torch.optim.SGD(linear().parameters(), lr=0.5)
    cycle = torch.optim.lr_scheduler.OneCycleLR(theirs, 0.5, total_steps=6)
    expected = []
    for _ in range(5):
        expected.append(theirs.param_groups[0]["lr"])
        theirs.step()
        cycle.step()
    assert rates == pytest.approx([*expected, theirs.param_groups[0]["lr"]])
    assert stretch.optimizer.param_groups[0]["lr"] == rates[-1]
    assert stretch.optimizer.param_groups[0]["momentum"] == pytest.approx(0.95)


def trained(seed=(0, "tune"), dropout=0.5, epochs=(0, 1), alike=False):
    net = normed_net(dropout)
    images, labels_N = torch.rand(N, 3, 8, 8, generator=torch.Generator().manual_seed(1)), Y % 2
    if alike:
        images, labels_N = images[:1].expand(N, -1, -1, -1), labels_N[:1].expand(N)
    stretch = training(net, Features((images,), CPU), labels_N, seed, optimizer=SGD(lr=0.1), batch_size=N)
    losses = [epoch(stretch, number).loss for number in epochs]
    return losses, state(net)


def test_the_same_seed_trains_to_the_same_bits_whatever_the_global_generator():
    torch.manual_seed(1)
    losses, weights = trained()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again, same_weights = trained()
    assert losses == again
    assert same(weights, same_weights)
    assert torch.equal(before, torch.get_rng_state())


def test_dropout_is_a_function_of_seed_and_epoch():
    # One batch of the same image N times: the order cannot matter, only dropout can.
    keys = [(0, "tune"), (1, "tune"), (0, "head")]
    first = [trained(key, epochs=(0,), alike=True)[0][0] for key in keys]
    second = trained(epochs=(1,), alike=True)[0][0]
    assert len({*first, second}) == 4
    still = [trained(key, dropout=0.0, epochs=(0,), alike=True)[0][0] for key in keys]
    assert len(set(still)) == 1


def test_an_epoch_is_the_same_without_the_epochs_before_it():
    # What a resume relies on: order, views and dropout depend on the epoch's number alone.
    source, resumed = recorded(X, -X), recorded(X, -X)
    stretch = training(linear(), source, batch_size=4)
    for number in range(3):
        source.asked.clear()
        last = epoch(stretch, number)
    alone = epoch(training(linear(), resumed, batch_size=4), 2)
    assert resumed.asked == source.asked
    assert alone.losses == pytest.approx(last.losses)


def test_a_frozen_body_keeps_every_bit_while_the_head_trains():
    net = normed_net()
    config = stage(optimizer=SGD(lr=0.5, weight_decay=0.1))
    optimizer = optimizers.build(config.optimizer, dict(net.named_parameters()), freezing.apply(net, "head", ("head",)))
    before = state(net)
    source = Features((torch.rand(N, 3, 8, 8, generator=torch.Generator().manual_seed(1)),), CPU)
    stretch = StageTraining(config, OneNetwork(net), optimizer, source, Y % 2, machine(), [(0,)], lambda *_: None)
    epoch(stretch, 0)
    scores.evaluate(OneNetwork(net), source.in_order(), Y % 2, machine())
    epoch(stretch, 1)  # training mode is set anew after an evaluation
    assert same(before | state(net, "head"), state(net))
    assert not torch.equal(before["head.1.weight"], net.head[1].weight)


def test_evaluation_is_weighted_by_image_and_changes_nothing():
    net = normed_net()
    images = torch.rand(N, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    net.train()
    before = state(net)
    batches = iter(torch.split(images, [5, 5, 1]))
    [(loss, accuracy, _)] = scores.evaluate(OneNetwork(net), batches, Y % 2, machine())
    assert same(before, state(net))
    net.eval()
    p_NK = probabilities(net, images)
    assert loss == pytest.approx(log_loss(Y % 2, p_NK, labels=[0, 1]), rel=1e-5)
    assert accuracy == (p_NK.argmax(1) == (Y % 2).numpy()).mean()


def test_logits_need_no_gradient():
    out = forward.logits(linear(), iter([X[:5], X[5:]]), machine())
    assert out.shape == (N, K)
    assert out.dtype == torch.float32
    assert not out.requires_grad


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_with_advice(bad):
    x = X.clone()
    x[int(torch.randperm(N)[0])] = bad
    with pytest.raises(DivergedError, match=r"loss became (nan|inf) at step 1 of epoch 1.*rate 1e-12.*clip"):
        epoch(training(linear(), recorded(x), batch_size=N))


def test_bfloat16_trains_too():
    net = linear()
    config = stage(optimizer=SGD(lr=0.1), batch_size=4)
    optimizer = optimizers.build(config.optimizer, dict(net.named_parameters()), freezing.apply(net, "all", ()))
    half = resolve(Compute(device="cpu", precision="bfloat16", threads=1))
    stretch = StageTraining(config, OneNetwork(net), optimizer, recorded(), Y, half, [(0,)], lambda *_: None)
    losses = [epoch(stretch, number).loss for number in range(5)]
    assert losses[-1] < losses[0]
    assert next(net.parameters()).dtype == torch.float32


def test_inputs_are_made_in_full_precision_and_the_network_runs_in_half():
    half = replace(machine(), dtype=torch.bfloat16)

    def inputs():
        for _ in range(2):
            assert not torch.is_autocast_enabled("cpu")
            yield torch.rand(2, 3)

    seen = []
    network = nn.Linear(3, 2)
    network.register_forward_hook(lambda *args: seen.append(args[2].dtype))
    assert forward.logits(network, inputs(), half).dtype == torch.float32
    assert seen == [torch.bfloat16] * 2
