import pytest
import torch
from tiny import named, normed_net, same, state
from torch import nn

from transferlab.core.models import freezing
from transferlab.core.models.freezing import PolicyError

NAMES = ["body.conv.weight", "body.conv.bias", "body.norm.weight", "head.weight", "head.bias"]
HEAD = ("head",)


def test_the_first_row_that_matches_decides():
    rows = (("body.conv.*", 0.1), ("body.*", None), (".*", 1.0))
    assert freezing.scales(rows, named(NAMES), HEAD) == {
        "body.conv.weight": 0.1,
        "body.conv.bias": 0.1,
        "head.weight": 1.0,
        "head.bias": 1.0,
    }


@pytest.mark.parametrize(("shorthand", "trained"), [("all", NAMES), ("head", NAMES[3:])])
def test_shorthands(shorthand, trained):
    assert freezing.scales(shorthand, named(NAMES), HEAD) == dict.fromkeys(trained, 1.0)


def test_a_head_of_two_modules_is_trained_whole_and_nothing_of_a_like_name():
    names = ["header.weight", "head.weight", "head_dist.weight", "headXfc.weight"]
    assert list(freezing.scales("head", named(names), ("head", "head_dist"))) == ["head.weight", "head_dist.weight"]
    assert list(freezing.scales("head", named(["head.fc.weight", "headXfc.weight"]), ("head.fc",))) == [
        "head.fc.weight"
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((("boddy.conv.*", 1.0), (".*", None)), r"'boddy\.conv\.\*' matches no parameter.*did you mean"),
        (((".*", 1.0), ("body.*", None)), r"'body\.\*' matches no parameter that earlier rows leave"),
        ((("head", 1.0), (".*", None)), r"'head' matches no parameter.*the first names are body\.conv\.weight"),
        ((("head.*", 1.0),), r"no row covers body\.conv\.weight, body\.conv\.bias, body\.norm\.weight; end with"),
        (((".*", None),), "every parameter is frozen"),
        ("heads", r"'heads' is neither of head, all.*did you mean 'head'"),
    ],
    ids=["unmatched", "shadowed", "not_whole_name", "uncovered", "all_frozen", "no_shorthand"],
)
def test_a_policy_that_does_not_fit_says_why(rows, message):
    with pytest.raises(PolicyError, match=message):
        freezing.scales(rows, named(NAMES), HEAD)


def test_of_many_uncovered_parameters_some_are_named_and_all_counted():
    with pytest.raises(PolicyError, match="no row covers p0, p1, p2, p3, p4 and 7 more"):
        freezing.scales((("q", 1.0),), named([*(f"p{i}" for i in range(12)), "q"]), HEAD)


def test_applying_sets_every_parameter_both_ways():
    net = normed_net()
    freezing.apply(net, "head", HEAD)
    assert {name for name, p in net.named_parameters() if p.requires_grad} == {"head.1.weight", "head.1.bias"}
    freezing.apply(net, "all", HEAD)
    assert all(p.requires_grad for p in net.parameters())


def test_a_frozen_module_is_in_eval_and_the_rest_trains():
    net = normed_net()
    freezing.apply(net, "head", HEAD)
    net.eval()
    freezing.train_mode(net)
    training = {name for name, module in net.named_modules() if module.training}
    assert training == {"", "pool", "pool.0", "pool.1", "head", "head.0", "head.1"}
    freezing.apply(net, "all", HEAD)
    freezing.train_mode(net)
    assert all(module.training for module in net.modules())


@pytest.mark.parametrize(
    ("policy", "trains"),
    [
        ("all", True),
        ("head", False),
        ((("body.1.bias", 1.0), (".*", None)), True),
        ((("body.1.*", None), (".*", 1.0)), False),
    ],
)
def test_whether_a_policy_trains_a_batch_norm_is_what_the_mode_of_its_layers_will_be(policy, trains):
    net = normed_net()
    parameters = [name for name, _ in net.named_parameters()]
    assert freezing.trains_batch_norm(policy, parameters, net.state_dict(), ("head",)) == trains
    freezing.apply(net, policy, ("head",))
    freezing.train_mode(net)
    assert net.body[1].training == trains


def test_a_batch_norm_without_parameters_is_taken_to_train():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False))
    assert freezing.trains_batch_norm("all", ["0.weight", "0.bias"], net.state_dict(), ())


def test_one_trained_parameter_in_a_block_leaves_its_frozen_norm_in_eval():
    net = normed_net()
    freezing.apply(net, (("body.0.weight", 1.0), (".*", None)), HEAD)
    freezing.train_mode(net)
    assert net.body.training
    assert net.body[3].training  # dropout, beside what is trained
    assert not net.body[1].training
    assert not net.head.training


@pytest.mark.parametrize("rows", ["head", (("body.0.*", 1.0), (".*", None)), (("body.1.*", 1.0), (".*", None))])
def test_what_is_frozen_keeps_every_bit(rows):
    net = normed_net()
    trained = freezing.apply(net, rows, HEAD)
    before = state(net)
    optimizer = torch.optim.AdamW((p for p in net.parameters() if p.requires_grad), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        freezing.train_mode(net)
        nn.functional.cross_entropy(net(torch.rand(5, 3, 8, 8)), torch.tensor([0, 1, 0, 1, 0])).backward()
        optimizer.step()
    moved = {name for name in before if not torch.equal(before[name], state(net)[name])}
    statistics = {"body.1.running_mean", "body.1.running_var", "body.1.num_batches_tracked"}
    assert moved == set(trained) | (statistics if "body.1.weight" in trained else set())
    assert all(p.grad is None for name, p in net.named_parameters() if name not in trained)


def test_a_frozen_part_gives_the_same_numbers_twice():
    net = normed_net()
    freezing.apply(net, "head", HEAD)
    freezing.train_mode(net)
    before, x = state(net), torch.rand(5, 3, 8, 8)
    assert torch.equal(net.body(x), net.body(x))
    assert same(before, state(net))


def test_a_pattern_that_backtracks_without_end_is_told(monkeypatch):
    pattern = r"(.*)(.*)(.*)(.*)(.*)(.*)(.*)\7\6\5\4\3\2\1[A-Z]"
    monkeypatch.setattr(freezing, "MATCH_SECONDS", 0.2)
    name = "layer4.0.downsample.1.weight" * 4
    with pytest.raises(freezing.PolicyError) as caught:
        freezing.scales(((pattern, 1.0), (".*", None)), named([name]), ())
    assert f"the pattern '{pattern}' backtracks without end on '{name}'" in str(caught.value)


def test_nested_repetitions_that_end_are_fine():
    names = ["a" * 60, "b"]
    assert freezing.scales(((r"(a+)+b", 1.0), (r"(a|a)*b?", 0.5)), named(["aab", *names]), ()) == {
        "aab": 1.0,
        "a" * 60: 0.5,
        "b": 0.5,
    }
