import pytest
import torch
from tiny import normed_net, same, state

from transferlab.core.training.average import Average
from transferlab.core.training.learners import OneNetwork


def test_a_step_moves_the_average_by_one_minus_its_decay_which_begins_low():
    live = torch.zeros(2)
    average = Average(0.5, [live])
    expected = 0.0
    for step in range(1, 30):
        live.fill_(float(step))
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert average.tensors[0].tolist() == pytest.approx([expected] * 2)


def test_in_place_the_network_holds_the_average_and_afterwards_its_weights():
    net = normed_net()
    average = Average(0.9, OneNetwork(net).moving())
    before = state(net)
    net(torch.rand(5, 3, 8, 8))  # statistics of BatchNorm move, too
    with torch.no_grad():
        net.head[1].weight += 1
    after = state(net)
    with average.in_place():
        held = state(net)
        assert same({**held, "body.1.num_batches_tracked": before["body.1.num_batches_tracked"]}, before)
    assert same(state(net), after)


def test_constants_that_are_infinite_are_left_alone():
    net = normed_net()
    net.register_buffer("mask", torch.tensor([float("-inf")]))
    average = Average(0.9, OneNetwork(net).moving())
    average.update()
    assert all(tensor.isfinite().all() for tensor in average.tensors)


def test_it_goes_on_from_its_state():
    def run(stop):
        live = torch.zeros(3)
        average = Average(0.99, [live])
        for step in range(6):
            if step == stop:
                kept = {**average.state_dict(), "live": [t.clone() for t in average.state_dict()["live"]]}
                live = average.tensors[0].clone()  # what is saved as the weights
                average = Average(0.99, [live])
                average.load_state_dict(kept)
            live += torch.arange(3.0) * step
            average.update()
        return live, average.tensors[0]

    for one, other in zip(run(None), run(4), strict=True):
        assert torch.equal(one, other)
