"""Heads that begin with what the pretrained classifier knows, and pooled features that are standardized."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from tiny import COMPUTE, STATISTICS, machine, same, spec_of, split_of, stage, strategy

from transferlab.core.loading.feature_cache import FeatureCacheConfig
from transferlab.core.loading.images import Images
from transferlab.core.models import factory
from transferlab.core.models.backbones import registry
from transferlab.core.models.backbones.model import Model, Pooled
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.strategies import checks
from transferlab.core.strategies.optimizers import SGD
from transferlab.core.training import divergence, fingerprint, head_start, together
from transferlab.core.training.engine import DivergedError
from transferlab.core.training.spec import TrialSpec
from transferlab.core.training.trial import train_trial
from transferlab.core.validation import FieldProblems

PRETRAINED_CLASSES = 7
HEAD = {"trainable": "head", "epochs": 2, "optimizer": SGD(lr=0.1)}


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    return split_of(tmp_path_factory.mktemp("images"), 11)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A network with 7 classes, and the file of its weights."""
    torch.manual_seed(0)
    network = registry.build("timm/test_resnet", PRETRAINED_CLASSES, 32).eval()
    torch.nn.init.normal_(network.fc.weight, std=3)  # so that its probabilities differ between images
    file = tmp_path_factory.mktemp("weights") / "resnet.safetensors"
    save_file(network.state_dict(), file)
    return network, str(file)


def specs(train, file, count=1, **stages):
    config = replace(strategy(**stages), model=Model(name="timm/test_resnet", weights=file), head="classifier")
    initial = factory.initial(config.model, config.input, ["red", "blue"], STATISTICS, 0, keep_classifier=True)
    return [TrialSpec("tiny", config, initial, train, None, trial, 0, COMPUTE) for trial in range(count)]


@pytest.mark.parametrize("limit_gb", [20.0, 0.0], ids=["on_features", "on_images"])
def test_each_class_begins_with_the_pretrained_rows_that_its_images_look_like(train, pretrained, tmp_path, limit_gb):
    network, file = pretrained
    [spec] = specs(train, file)
    spec = replace(spec, keeping=FeatureCacheConfig(limit_gb=limit_gb))
    images = Images(train, spec.initial.header.view, machine())
    with torch.inference_mode():
        p_NC = torch.cat([network(x) for x in images.in_order()]).softmax(dim=1)
    begun = head_start.fresh(spec, machine(), tmp_path)
    for number in range(2):
        mean_C = p_NC[torch.from_numpy(train.labels) == number].mean(dim=0)
        assert torch.allclose(begun.fc.weight[number], mean_C @ network.fc.weight, atol=1e-4)
        assert torch.allclose(begun.fc.bias[number], mean_C @ network.fc.bias, atol=1e-4)
    assert not torch.allclose(begun.fc.weight[0], begun.fc.weight[1], atol=1e-2)


def test_without_a_stage_it_is_what_is_evaluated(train, pretrained, tmp_path):
    [spec] = specs(train, pretrained[1])
    untrained = replace(spec, strategy=replace(spec.strategy, stages={}))
    begun = head_start.fresh(spec, machine(), tmp_path)
    assert same(train_trial(untrained, tmp_path, lambda _: None).checkpoint.tensors, begun.state_dict())


def test_trials_together_begin_as_they_do_alone(train, pretrained, tmp_path):
    two = specs(train, pretrained[1], count=2, head=stage(**HEAD))
    joint = together.train(two, tmp_path, lambda _: None, None)
    for spec in two:
        alone = train_trial(spec, tmp_path, lambda _: None).checkpoint.tensors
        for name, tensor in joint[spec.trial].checkpoint.tensors.items():
            assert torch.allclose(tensor, alone[name], atol=1e-5), name


def test_a_file_keeps_the_pretrained_classifier_before_training_alone(train, pretrained, tmp_path):
    network, file = pretrained
    [spec] = specs(train, file)
    (tmp_path / "initial").write_bytes(spec.initial.to_bytes())
    read = Checkpoint.read(tmp_path / "initial")
    assert same(read.classifier, {"fc.weight": network.fc.weight, "fc.bias": network.fc.bias})
    assert same(read.tensors, spec.initial.tensors)
    other = replace(spec.initial, classifier={name: tensor + 1 for name, tensor in read.classifier.items()})
    assert fingerprint.sha256_of_checkpoint(other) != fingerprint.sha256_of_checkpoint(spec.initial)
    assert not train_trial(spec, tmp_path, lambda _: None).checkpoint.classifier


def test_weights_without_a_classifier_are_told_before_any_work(pretrained, tmp_path):
    network, _ = pretrained
    body = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("fc.")}
    save_file(body, tmp_path / "body.safetensors")
    model = Model(name="timm/test_resnet", weights=str(tmp_path / "body.safetensors"))
    checks.check(replace(strategy(), model=model))
    with pytest.raises(FieldProblems, match=r"holds no classifier \(fc.weight, fc.bias\)"):
        checks.check(replace(strategy(), model=model, head="classifier"))


def test_from_scratch_there_is_no_classifier_to_begin_with():
    with pytest.raises(FieldProblems, match=r"needs model\.weights"):
        replace(strategy(), head="classifier")


# ---- pooled features -------------------------------------------------------------------------------------------------
def pooled_specs(train, file, count=1, pooled=None, **stages):
    model = Model(name="timm/test_resnet", weights=file, pooled=pooled or Pooled(stages=2))
    config = replace(strategy(**(stages or {"head": stage(**HEAD)})), model=model)
    return [spec_of(config, train, trial=trial) for trial in range(count)]


@pytest.mark.parametrize("limit_gb", [20.0, 0.0], ids=["on_features", "on_images"])
def test_pooled_features_of_the_training_images_are_standardized(train, pretrained, tmp_path, limit_gb):
    [spec] = pooled_specs(train, pretrained[1])
    begun = head_start.fresh(replace(spec, keeping=FeatureCacheConfig(limit_gb=limit_gb)), machine(), tmp_path)
    images = Images(train, spec.initial.header.view, machine())
    with torch.inference_mode():
        x_NF = torch.cat([begun.standardized(begun.pooled(x)) for x in images.in_order()])
    assert x_NF.mean(dim=0).abs().max() < 1e-3
    deviation_F = x_NF.std(dim=0, correction=0)
    is_dead_F = begun.standardized.deviation == 1.0  # a channel that no image excites
    assert 0 < is_dead_F.sum() < len(is_dead_F)
    assert torch.allclose(deviation_F, (~is_dead_F).float(), atol=1e-2)


def test_heads_on_pooled_features_train_together_on_cached_ones(train, pretrained, tmp_path):
    two = pooled_specs(train, pretrained[1], count=2)
    assert together.could_train(two)
    joint = together.train(two, tmp_path, lambda _: None, None)
    for spec in two:
        alone = train_trial(spec, tmp_path, lambda _: None)
        assert alone.cost.feature_mb > 0
        for name, tensor in joint[spec.trial].checkpoint.tensors.items():
            assert torch.allclose(tensor, alone.checkpoint.tensors[name], atol=1e-5), name
    assert len(list(tmp_path.iterdir())) == 1, "training images are seen as in evaluation: one file of features"
    others = pooled_specs(train, pretrained[1], count=2, pooled=Pooled(stages=4, deviations=False))
    together.train(others, tmp_path, lambda _: None, None)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_standardized_is_in_the_checkpoint_and_in_what_a_diverged_trial_leaves(train, pretrained, tmp_path):
    calm, wild = stage(**HEAD), stage(optimizer=SGD(lr=1e38), label_smoothing=0.5)
    [spec] = pooled_specs(train, pretrained[1], calm=calm)
    trained = train_trial(spec, tmp_path, lambda _: None).checkpoint
    begun = head_start.fresh(spec, machine(), tmp_path).state_dict()
    assert torch.equal(trained.tensors["standardized.mean"], begun["standardized.mean"])
    [spec] = pooled_specs(train, pretrained[1], calm=calm, wild=wild)
    with pytest.raises(DivergedError) as caught:
        train_trial(spec, tmp_path, lambda _: None, tmp_path / "states")
    divergence.keep_saved(spec, tmp_path / "states", caught.value)
    kept = Checkpoint.read(divergence.path_of(tmp_path / "states", 0))
    assert same(kept.tensors, trained.tensors)
