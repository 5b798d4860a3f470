import dataclasses

import pytest
import torch
from tiny import FLIP_AND_CROP, VIEW, machine, normed_net, same, spec_of, split_of, stage, strategy
from torch import nn
from torchvision import models

from transferlab.core import data, engine, features, optim, policy
from transferlab.core.backbones import Model
from transferlab.core.data import Images
from transferlab.core.optim import SGD
from transferlab.core.seeding import global_seed
from transferlab.core.trial import train_trial

HEAD = ("head",)
CPU = torch.device("cpu")
X = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
RESNET = Model(name="timm/test_resnet")


def cut_of(net, rows, head=HEAD, x=X):
    policy.apply(net, rows, head)
    return features.cut(net, x[:1])


# ---- where the network is cut ----------------------------------------------------------------------------------------
def test_dropout_before_the_head_belongs_to_the_tail():
    assert cut_of(normed_net(), "head").tail == "head"
    assert cut_of(normed_net(), (("head.1.weight", 1.0), (".*", None))).tail == "head"


def test_one_trained_layer_is_the_tail_itself():
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(1800, 2))
    assert cut_of(net, (("2.*", 1.0), (".*", None))).tail == "2"


@pytest.mark.parametrize("rows", ["all", (("body.*", 1.0), (".*", None)), (("body.0.*|head.*", 1.0), (".*", None))])
def test_no_cut_where_the_tail_is_not_the_end(rows):
    assert cut_of(normed_net(), rows) is None


class Twice(nn.Module):
    """Calls its head twice; the second call gives the output."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.head(self.head(self.body(x)))


class Scaled(Twice):
    """Does something after its head."""

    def forward(self, x):
        return 2 * self.head(self.body(x))


class TwoInputs(Twice):
    """Its head takes more than what the body makes."""

    def __init__(self):
        super().__init__()
        self.head = nn.Bilinear(3, 3, 2)

    def forward(self, x):
        return self.head(self.body(x), x)


@pytest.mark.parametrize("net", [Twice(), Scaled(), TwoInputs()], ids=lambda net: type(net).__name__)
def test_no_cut_where_the_tail_alone_does_not_make_the_output(net):
    assert cut_of(net, "head", x=torch.rand(2, 3)) is None


def test_no_cut_at_a_module_inside_that_takes_several_inputs():
    net = models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=8, num_classes=2
    )
    last = r"encoder\.layers\.encoder_layer_1\.self_attention\..*"
    assert cut_of(net, ((last, 1.0), (".*", None))) is None


def test_a_norm_without_parameters_that_gathers_statistics_is_not_frozen_work():
    # No policy can cover it; it trains with the module it stands in.
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2, affine=False), nn.Flatten(), nn.Linear(1800, 2))
    assert cut_of(net, (("3.*", 1.0), (".*", None))) is None


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
NETWORKS = {
    "efficientnet": (lambda: models.efficientnet_b0(num_classes=2), ("classifier.1",), "classifier"),
    "mobilenet_v2": (lambda: models.mobilenet_v2(num_classes=2), ("classifier.1",), "classifier"),
    "mobilenet_v3": (lambda: models.mobilenet_v3_small(num_classes=2), ("classifier.3",), "classifier"),
    "vgg": (
        lambda: nn.Sequential(models.vgg11(num_classes=2, init_weights=False)),
        ("0.classifier.6",),
        "0.classifier",
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_tail_on_features_is_the_network(name):
    make, head, tail = NETWORKS[name]
    with global_seed(CPU, 0):
        net = make()
        with torch.no_grad():  # statistics that keep the numbers near 1
            for module in net.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.momentum = None
            net.train()(X)
    at = cut_of(net, "head", head)
    assert at.tail == tail
    kept = features.compute(net, at, iter([X]), machine())
    module = net.get_submodule(at.tail)
    outputs = []
    for run, x in ((net, X), (module, kept)):
        policy.train_mode(net)
        with global_seed(CPU, 1, "dropout"):
            outputs.append(run(x.clone()))  # EfficientNet's dropout works in place
            with torch.no_grad():
                outputs.append(run(x.clone()))
    whole, whole_again, alone, alone_again = outputs
    rounding = 1e-3 * whole.abs().max()
    assert (whole - alone).abs().max() < rounding
    assert (whole_again - alone_again).abs().max() < rounding
    assert (whole - whole_again).abs().max() > 10 * rounding  # dropout is active, in both the same
    assert not kept.requires_grad
    assert not kept.is_inference()


HEAD_STAGE = {"trainable": "head", "optimizer": SGD(lr=0.5), "epochs": 3}


@pytest.mark.parametrize("config", [{}, {"augmentation": FLIP_AND_CROP, "views": 2}], ids=["plain", "two_views"])
@pytest.mark.parametrize("model", ["timm/test_resnet", "torchvision/mobilenet_v3_small", "transferlab/convnet"])
def test_cached_training_is_uncached_training(tmp_path, monkeypatch, model, config):
    plan = strategy(model, head=stage(**HEAD_STAGE, **config), tune=stage(optimizer=SGD(lr=0.01), epochs=1))
    train, held_out = split_of(tmp_path / "train", 11), split_of(tmp_path / "val", 5, "validation", seed=1)
    results = []
    for uncached in (False, True, False):
        if uncached:
            monkeypatch.setattr(features, "cut", lambda network, example: None)
        results.append(train_trial(spec_of(plan, train, held_out), tmp_path / "features", lambda _: None))
        monkeypatch.undo()
    assert len(list((tmp_path / "features").iterdir())) == config.get("views", 1) + 1
    cached, plain, again = results
    assert [row["loss"] for row in cached.steps] == pytest.approx([row["loss"] for row in plain.steps], abs=2e-4)
    assert [row["loss"] for row in cached.history] == pytest.approx([row["loss"] for row in plain.history], abs=2e-4)
    assert all(
        torch.allclose(cached.checkpoint.tensors[name], plain.checkpoint.tensors[name], atol=1e-3)
        for name in cached.checkpoint.tensors
    )
    assert same(cached.checkpoint.tensors, again.checkpoint.tensors)  # from the files of the first run


def test_same_bits_as_a_network_that_is_run_on_the_same_batches(tmp_path):
    net, images = normed_net(), Images(split_of(tmp_path / "store", 9), VIEW, machine())
    at = cut_of(net, "head")
    kept = data.with_features(images, net, at, RESNET, tmp_path / "features")
    whole = engine.logits(net, images.in_order(), machine())
    assert torch.equal(engine.logits(net.head, kept.in_order(), machine()), whole)


# ---- the key ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def counted(tmp_path):
    """How many features files there are after asking for those of some images and network."""
    train = split_of(tmp_path / "store", 6)

    def ask(net=None, model=RESNET, rows="head", **changes):
        images = dataclasses.replace(Images(train, VIEW, machine(), FLIP_AND_CROP, ("views", 0), 2), **changes)
        net = net or normed_net()
        found = data.with_features(images, net, cut_of(net, rows), model, tmp_path / "features")
        assert len(found.views) == (images.views or 0)
        return len(list((tmp_path / "features").iterdir()))

    assert ask() == 2
    return ask


def test_the_same_question_is_answered_from_the_files(counted):
    assert counted() == 2
    net = normed_net()
    with torch.no_grad():
        net.head[1].weight += 1  # another trial's head
    assert counted(net) == 2
    assert counted(views=1) == 2
    assert counted(views=3) == 3


def test_a_changed_weight_misses(counted):
    net = normed_net()
    with torch.no_grad():
        net.body[0].weight[0, 0, 0, 0] += 1e-6
    assert counted(net) == 4


def test_a_changed_policy_misses(counted):
    def net(first_width):
        body = normed_net()[:2]
        with global_seed(CPU, 0):
            return body.append(nn.Sequential(nn.Linear(4, first_width), nn.Linear(first_width, 2)))

    assert counted(net(3), rows=((r"2\.1\..*", 1.0), (".*", None))) == 4
    assert counted(net(3), rows=((r"2\..*", 1.0), (".*", None))) == 6
    assert counted(net(3), rows=((r"2\..*", 0.1), (".*", None))) == 6  # only the rate


@pytest.mark.parametrize(
    "changes",
    [
        {"view": dataclasses.replace(VIEW, mean=(0.4, 0.5, 0.61))},
        {"view": dataclasses.replace(VIEW, size=31)},
        {"operations": FLIP_AND_CROP[:1]},
        {"operations": (dataclasses.replace(FLIP_AND_CROP[0], scale=(0.41, 1.0)), FLIP_AND_CROP[1])},
        {"seed": ("views", 1)},
        {"machine": dataclasses.replace(machine(), dtype=torch.bfloat16)},
        {"machine": dataclasses.replace(machine(), threads=2)},
    ],
    ids=["mean", "size", "operations", "scale", "seed", "precision", "threads"],
)
def test_a_changed_transform_misses(counted, changes):
    assert counted(**changes) == 4


def test_another_architecture_misses(counted):
    assert counted(model=Model(name="timm/test_vit")) == 4


def test_a_changed_image_or_order_misses(counted, tmp_path):
    assert counted(split=split_of(tmp_path / "same", 6)) == 2
    other = split_of(tmp_path / "other", 6, seed=1)
    assert counted(split=other) == 4
    assert counted(split=dataclasses.replace(other, rows=other.rows[::-1].copy())) == 6


def test_images_without_augmentation_need_no_seed(tmp_path):
    # So validation and test images are computed once for all trials and strategies.
    images = Images(split_of(tmp_path / "store", 6), VIEW, machine(), (), ("augment", 1))
    for seed in (("augment", 1), ("augment", 2)):
        net = normed_net()
        other = dataclasses.replace(images, seed=seed)
        data.with_features(other, net, cut_of(net, "head"), RESNET, tmp_path / "features")
    assert len(list((tmp_path / "features").iterdir())) == 1


def test_optimizer_of_the_network_trains_the_tail(tmp_path):
    # The tail is a part of the network and not a copy.
    net, images = normed_net(0.0), Images(split_of(tmp_path / "store", 6), VIEW, machine())
    at = cut_of(net, "head")
    optimizer = optim.build(SGD(lr=0.1), net, policy.apply(net, "head", HEAD))
    kept = data.with_features(images, net, at, RESNET, tmp_path / "features")
    before = net.head[1].weight.clone()
    net.get_submodule(at.tail)(kept.batch(0, torch.arange(6))).square().sum().backward()
    optimizer.step()
    assert not torch.equal(net.head[1].weight, before)
