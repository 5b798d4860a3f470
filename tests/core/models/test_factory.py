import dataclasses

import pytest
import torch
from safetensors.torch import save_file
from tiny import STATISTICS, machine, same, stage, strategy

from transferlab.core.models import factory
from transferlab.core.models.backbones import registry
from transferlab.core.models.backbones.model import Model
from transferlab.core.runtime.seeding import derive
from transferlab.core.strategies import summary
from transferlab.core.strategies.strategy import Strategy

CLASSES = ["ants", "bees", "wasps"]
SEEDS = [derive(0, "trial", trial) for trial in range(2)]


def initial(config, seed=SEEDS[0], classes=CLASSES):
    return factory.initial(config.model, config.input, classes, STATISTICS, seed)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A strategy whose weights come from a file of a network with 7 classes, and that file's tensors."""
    file = tmp_path_factory.mktemp("weights") / "resnet.safetensors"
    torch.manual_seed(0)
    net = registry.build("timm/test_resnet", 7, 32)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
    save_file(net.state_dict(), file)
    return dataclasses.replace(strategy(), model=Model(name="timm/test_resnet", weights=str(file))), net.state_dict()


def test_pretrained_networks_share_all_but_the_head(pretrained):
    config, tensors = pretrained
    checkpoint = initial(config)
    body = {name: t for name, t in tensors.items() if not name.startswith("fc.") and "num_batches" not in name}
    assert checkpoint.header.pretrained == tuple(sorted(body))
    assert same({name: checkpoint.tensors[name] for name in body}, body)
    assert checkpoint.tensors["fc.weight"].shape[0] == 3
    one, other = (factory.fresh(checkpoint, seed, machine()).state_dict() for seed in SEEDS)
    assert same({name: one[name] for name in body}, body)
    assert same({name: other[name] for name in body}, body)
    assert not torch.equal(one["fc.weight"], other["fc.weight"])
    assert same(one, factory.fresh(checkpoint, SEEDS[0], machine()).state_dict())


def test_the_head_is_new_even_where_the_files_would_fit(pretrained):
    config, tensors = pretrained
    checkpoint = initial(config, classes=[str(k) for k in range(7)])
    assert checkpoint.tensors["fc.weight"].shape == tensors["fc.weight"].shape
    assert not torch.equal(checkpoint.tensors["fc.weight"], tensors["fc.weight"])
    assert not any(name.startswith("fc.") for name in checkpoint.header.pretrained)


def test_networks_from_scratch_share_nothing_but_the_seed():
    checkpoint = initial(strategy())
    assert checkpoint.header.pretrained == ()
    one, other = (factory.fresh(checkpoint, seed, machine()).state_dict() for seed in SEEDS)
    assert not torch.equal(one["conv1.0.weight"], other["conv1.0.weight"])
    assert same(checkpoint.tensors, one)  # what is stored is where trial 0 begins
    assert same(checkpoint.tensors, initial(strategy()).tensors)


def test_initialisation_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    factory.fresh(initial(strategy()), 1, machine())
    assert torch.equal(before, torch.get_rng_state())


def test_a_loaded_network_has_exactly_the_weights_of_the_checkpoint_and_is_ready_to_predict():
    checkpoint = initial(strategy(), seed=SEEDS[1])
    network = factory.load(checkpoint, machine())
    assert same(network.state_dict(), checkpoint.tensors)
    assert not any(module.training for module in network.modules())


def test_pretrained_networks_see_what_their_weights_saw_and_others_what_the_data_is(pretrained):
    config, _ = pretrained
    seen = initial(config).header.view
    assert seen.mean == registry.preset(config.model).mean
    assert seen.std == registry.preset(config.model).std
    seen = initial(strategy()).header.view
    assert [list(seen.mean), list(seen.std)] == [STATISTICS["mean"], STATISTICS["std"]]
    assert (seen.size, seen.resize) == (32, 36)


def test_a_header_says_what_is_needed_to_predict():
    header = initial(strategy()).header
    assert header.classes == tuple(CLASSES)
    assert (header.model, header.weights) == ("timm/test_resnet", None)
    assert header.head == ("fc",)


def resnet18(**stages):
    return Strategy(model=Model(name="torchvision/resnet18"), stages=stages)


def test_the_summary_counts_resnet18():
    config = resnet18(head=stage(trainable="head"), tune=stage(trainable="all"))
    table = summary.summary(config, initial(config, classes=[str(k) for k in range(10)]))
    assert table["parameters"].sum() == table["trainable_tune"].sum() == 11_181_642
    assert table["trainable_head"].sum() == 5_130
    assert table.set_index("layer").loc["fc"].to_dict() == {
        "type": "Linear",
        "shape": "10x512",
        "parameters": 5_130,
        "trainable_head": 5_130,
        "trainable_tune": 5_130,
    }


def test_a_small_resnet18_has_a_stem_for_small_images():
    config = dataclasses.replace(resnet18(), model=Model(name="transferlab/resnet18_32px"))
    table = summary.summary(config, initial(config, classes=[str(k) for k in range(10)])).set_index("layer")
    assert table.loc["conv1", "shape"] == "64x3x3x3"
    assert table["parameters"].sum() == 11_181_642 - 64 * 3 * (7 * 7 - 3 * 3)
