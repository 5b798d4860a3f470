import pytest
import torch
from tiny import normed_net

from transferlab.core.models import freezing
from transferlab.core.strategies.optimizers import SGD, Adam, Clip, build, set_rate
from transferlab.core.validation import FieldProblems

HEAD = ("head",)
CONFIGS = [
    SGD(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.01),
    Adam(name="adam", lr=0.1, momentum=0.8, beta2=0.9, weight_decay=0.01),
    Adam(name="adamw", lr=0.1, momentum=0.8, beta2=0.9, weight_decay=0.01),
]
THEIRS = [
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.01),
    lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.9), weight_decay=0.01),
    lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.9), weight_decay=0.01),
]


def named(net, optimizer):
    names = {id(p): name for name, p in net.named_parameters()}
    return {names[id(p)]: group for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("rows", ["all", "head", (("body.0.*", 0.1), ("head.*", 1.0), (".*", None))])
def test_it_holds_exactly_what_the_stage_trains_at_its_scale(rows):
    net = normed_net()
    scales = freezing.apply(net, rows, HEAD)
    optimizer = build(SGD(lr=0.5), dict(net.named_parameters()), scales)
    groups = named(net, optimizer)
    assert {name: group["scale"] for name, group in groups.items()} == scales
    assert {name: group["lr"] for name, group in groups.items()} == {n: 0.5 * s for n, s in scales.items()}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(scales)


@pytest.mark.parametrize(("config", "theirs"), list(zip(CONFIGS, THEIRS, strict=True)), ids=["sgd", "adam", "adamw"])
@pytest.mark.parametrize("fused", [True, False])
def test_steps_are_torchs(config, theirs, fused):
    ours, reference = normed_net(0.0), normed_net(0.0)
    optimizers = [
        build(config, dict(ours.named_parameters()), freezing.apply(ours, "all", HEAD), fused),
        theirs(reference.parameters()),
    ]
    for step in range(3):
        x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        for net, optimizer in zip((ours, reference), optimizers, strict=True):
            optimizer.zero_grad()
            net(x).square().sum().backward()
            optimizer.step()
    for one, other in zip(ours.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("config", CONFIGS, ids=["sgd", "adam", "adamw"])
def test_rate_and_momentum_are_set_in_every_group(config):
    net = normed_net()
    rows = (("head.*", 1.0), (".*", 0.1))
    optimizer = build(config, dict(net.named_parameters()), freezing.apply(net, rows, HEAD))
    set_rate(optimizer, 0.02, 0.9)
    assert [(g["scale"], g["lr"]) for g in optimizer.param_groups] == [(0.1, pytest.approx(0.002)), (1.0, 0.02)]
    first_moment = [g["betas"] if "betas" in g else g["momentum"] for g in optimizer.param_groups]
    assert first_moment == [0.9 if config.name == "sgd" else (0.9, 0.9)] * 2
    set_rate(optimizer, 0.01, None)
    assert [g["betas"] if "betas" in g else g["momentum"] for g in optimizer.param_groups] == first_moment


def test_clipping_by_norm_and_by_value():
    def gradients():
        net = normed_net(0.0)
        (100 * net(torch.ones(2, 3, 8, 8))).square().sum().backward()
        return list(net.parameters())

    parameters = gradients()
    direction = torch.cat([p.grad.flatten() for p in parameters])
    Clip(by="norm", at=0.5).apply(parameters)
    clipped = torch.cat([p.grad.flatten() for p in parameters])
    assert clipped.norm() == pytest.approx(0.5, rel=1e-4)
    assert torch.allclose(clipped, direction * 0.5 / direction.norm(), atol=1e-6)
    parameters = gradients()
    Clip(by="value", at=0.25).apply(parameters)
    assert torch.allclose(torch.cat([p.grad.flatten() for p in parameters]), direction.clamp(-0.25, 0.25))


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: SGD(lr=0.0), "lr"),
        (lambda: SGD(lr=float("inf")), "lr"),
        (lambda: SGD(lr=float("nan")), "lr"),
        (lambda: SGD(lr=1.0, momentum=1.0), "momentum"),
        (lambda: SGD(lr=1.0, momentum=0.0, nesterov=True), "nesterov"),
        (lambda: Adam(name="adam", lr=1.0, beta2=1.0), "beta2"),
        (lambda: Adam(name="adamw", lr=1.0, weight_decay=-1.0), "weight_decay"),
        (lambda: Clip(by="norm", at=0.0), "at"),
    ],
)
def test_impossible_numbers_are_refused_by_key(make, key):
    with pytest.raises(FieldProblems) as caught:
        make()
    assert [problem.field for problem in caught.value.problems] == [key]
