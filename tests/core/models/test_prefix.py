import copy
import logging
import signal

import pytest
import timm
import torch
from tiny import normed_net
from torch import nn
from torch.nn import functional
from torchvision import models

from transferlab.core.models import freezing, prefix
from transferlab.core.models.prefix import Cut
from transferlab.core.runtime import interrupt
from transferlab.core.runtime.seeding import global_seed

HEAD = ("head",)
CPU = torch.device("cpu")
X = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def cut_of(net, rows, head=HEAD, x=X):
    freezing.apply(net, rows, head)
    return prefix.cut(net, x[:1])


# ---- where the network is cut ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("rows", ["head", (("head.1.weight", 1.0), (".*", None))])
def test_dropout_before_the_head_belongs_to_the_tail(rows):
    assert cut_of(normed_net(), rows).node == "pool"


def test_dropout_that_drops_nothing_is_no_reason_to_cut_before_it():
    rows = (("head.1.weight", 1.0), (".*", None))
    assert cut_of(normed_net(dropout=0.0), rows).node == "head_0"


def test_everything_before_the_first_trained_layer_is_frozen_work():
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(1800, 4), nn.ReLU(), nn.Linear(4, 2))
    assert cut_of(net, (("4.*", 1.0), (".*", None))).node == "_3"
    assert cut_of(net, (("[24].*", 1.0), (".*", None))).node == "_1"


@pytest.mark.parametrize("rows", ["all", (("body.*", 1.0), (".*", None)), (("body.0.*|head.*", 1.0), (".*", None))])
def test_no_cut_where_nothing_is_frozen_before_what_is_trained(rows):
    assert cut_of(normed_net(), rows) is None


class Twice(nn.Module):
    """Calls its head twice, and does something after it."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x, scale=2.0, mask=None):
        if mask is not None:
            x = x * mask
        return scale * self.head(self.head(self.body(x)))


def test_what_comes_after_the_head_belongs_to_the_tail():
    assert cut_of(Twice(), "head", x=torch.rand(2, 3)).node == "body"


class TwoInputs(Twice):
    """Its head takes more than what the body makes."""

    def __init__(self):
        super().__init__()
        self.head = nn.Bilinear(3, 3, 2)

    def forward(self, x):
        return self.head(self.body(x), x)


def test_no_cut_where_the_tail_takes_two_tensors():
    assert cut_of(TwoInputs(), "head", x=torch.rand(2, 3)) is None


class Undecided(Twice):
    """What it does depends on the numbers, so that it cannot be traced."""

    def forward(self, x):
        return self.head(self.body(x) if x.sum() > 0 else x)


class Counts(Twice):
    """Does something else at each call."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return self.head(self.body(x)) * self.calls


@pytest.mark.parametrize(("net", "reason"), [(Undecided(), "cannot be cut"), (Counts(), "not the same network")])
def test_a_network_that_cannot_be_cut_is_left_whole_and_said_so(caplog, net, reason):
    caplog.set_level(logging.INFO)
    prefix._say_once.cache_clear()
    for _ in range(2):
        assert cut_of(net, "head", x=torch.rand(2, 3)) is None
    assert len(caplog.messages) == 1
    assert reason in caplog.text


class Functional(Twice):
    """Draws without a module."""

    def forward(self, x):
        x = functional.dropout(self.body(x), 0.5, training=self.training)
        return self.head(torch.relu(x))


def test_a_function_that_draws_at_random_is_not_frozen_work():
    assert cut_of(Functional(), "head", x=torch.rand(2, 3)).node == "body"


def test_a_norm_without_parameters_that_gathers_statistics_is_not_frozen_work():
    # No policy can cover it; it trains with the module it stands in.
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2, affine=False), nn.Flatten(), nn.Linear(1800, 2))
    assert cut_of(net, (("3.*", 1.0), (".*", None))).node == "_0"


def test_a_trained_parameter_of_the_network_itself_is_not_frozen_work():
    net = models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=8, num_classes=2
    )
    assert cut_of(net, "head", ("heads.head",)).node not in ("conv_proj", "x")
    at = cut_of(net, (("class_token", 1.0), (r"heads\..*", 1.0), (".*", None)))
    assert not any("encoder" in name for name, _ in at.prefix.named_modules())


def test_a_stop_takes_effect_when_a_network_is_traced_to_the_end(monkeypatch):
    traced, trace = [], prefix._Tracer.graph_of

    def stopped(tracer, network):
        signal.raise_signal(signal.SIGTERM)
        traced.append(trace(tracer, network))
        return traced[-1]

    monkeypatch.setattr(prefix._Tracer, "graph_of", stopped)
    with pytest.raises(interrupt.Terminated), interrupt.stoppable():
        cut_of(normed_net(), "head")
    assert len(traced) == 2, "in training and in evaluation"


def test_the_digest_is_of_all_that_is_not_the_tail():
    nets = [normed_net() for _ in range(4)]
    with torch.no_grad():
        nets[1].head[1].weight += 1
        nets[2].body[0].weight[0, 0, 0, 0] += 1e-6
        nets[3].body[1].running_mean[0] += 1e-6
    digests = [cut_of(net, "head").prefix_sha256 for net in nets]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


# ---- the same numbers as without -------------------------------------------------------------------------------------
def last(pattern):
    return ((pattern, 1.0), (".*", None))


NETWORKS = {
    "efficientnet-head": (lambda: models.efficientnet_b0(num_classes=2), last("classifier.*"), "flatten"),
    "mobilenet_v2-head": (lambda: models.mobilenet_v2(num_classes=2), last("classifier.*"), "flatten"),
    "mobilenet_v3-last_linear": (
        lambda: models.mobilenet_v3_small(num_classes=2),
        last(r"classifier\.3.*"),
        "classifier_1",
    ),
    "vgg-last_linear": (
        lambda: models.vgg11(num_classes=2, init_weights=False),
        last(r"classifier\.6.*"),
        "classifier_1",
    ),
    "resnet-last_block": (lambda: models.resnet18(num_classes=2), last(r"(layer4\.1|fc)\..*"), "layer4_0"),
    "resnet-inside_a_block": (lambda: models.resnet18(num_classes=2), last(r"(layer4\.1\..*2|fc)\..*"), "layer4_0"),
    "densenet-last_layer": (
        lambda: models.densenet121(num_classes=2),
        last(r"(features\.(denseblock4|norm5)|classifier)\..*"),
        "features_transition3",
    ),
    "timm_lite-last_block": (
        lambda: timm.create_model("tf_efficientnet_lite0", num_classes=2),
        last(r"(blocks\.6|conv_head|bn2|classifier)\..*"),
        "blocks_5",
    ),
    "timm_vit-last_layer": (
        lambda: timm.create_model("vit_tiny_patch16_224", num_classes=2, img_size=32),
        last(r"(blocks\.11|norm|head)\..*"),
        "blocks_10",
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_tail_on_features_is_the_network(name):
    make, rows, node = NETWORKS[name]
    with global_seed(CPU, 0):
        net = make().double()  # so that rounding, which BatchNorm on three images makes large, does not count
        x = X.double()
        with torch.no_grad():  # statistics that keep the numbers near 1
            for module in net.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.momentum = None
            net.train()(x)
    at = cut_of(net, rows, x=x)
    assert at.node == node
    with torch.no_grad():
        kept = at.prefix.eval()(x)
    assert kept.shape[1:] == at.shape
    trained = [p for p in net.parameters() if p.requires_grad]
    whole, alone = outcome(net, x, trained), outcome(at.tail, kept, trained)
    for one, other in zip(whole, alone, strict=True):
        assert torch.allclose(one, other, atol=1e-9 * one.abs().max().item())


def outcome(run, x, trained):
    """Logits in training, the gradients of the trained parameters, and logits in evaluation."""
    before = copy.deepcopy(run.state_dict())
    freezing.train_mode(run)
    with global_seed(CPU, 1, "dropout"):
        logits = run(x.clone())
        gradients = torch.autograd.grad(functional.cross_entropy(logits, torch.tensor([0, 1, 0])), trained)
    run.load_state_dict(before)
    with torch.no_grad():
        return logits, *gradients, run.eval()(x.clone())


def test_the_tail_shares_its_layers_with_the_network_and_draws_when_it_trains():
    net = normed_net()
    at: Cut = cut_of(net, "head")
    freezing.train_mode(at.tail)
    assert [p.data_ptr() for p in at.tail.parameters()] == [p.data_ptr() for p in net.head.parameters()]
    kept = torch.rand(3, 4)
    assert not torch.equal(at.tail(kept), at.tail(kept))
    assert torch.equal(at.tail.eval()(kept), at.tail(kept))
