"""Every family of networks: the head is found, policies apply, images of their size pass through."""

import pytest
import torch

from transferlab.core.models import factory, freezing
from transferlab.core.models.backbones import registry
from transferlab.core.models.backbones.model import Model
from transferlab.core.strategies import checks
from transferlab.core.strategies.optimizers import SGD
from transferlab.core.strategies.strategy import Stage, Strategy
from transferlab.core.validation import FieldProblems

HEADS = {
    "torchvision/alexnet": ("classifier.6",),
    "torchvision/convnext_tiny": ("classifier.2",),
    "torchvision/densenet121": ("classifier",),
    "torchvision/efficientnet_b0": ("classifier.1",),
    "torchvision/googlenet": ("fc",),
    "torchvision/inception_v3": ("fc",),
    "torchvision/maxvit_t": ("classifier.5",),
    "torchvision/mnasnet0_5": ("classifier.1",),
    "torchvision/mobilenet_v3_small": ("classifier.3",),
    "torchvision/regnet_y_400mf": ("fc",),
    "torchvision/resnet18": ("fc",),
    "torchvision/shufflenet_v2_x0_5": ("fc",),
    "torchvision/squeezenet1_1": ("classifier.1",),
    "torchvision/swin_t": ("head",),
    "torchvision/vgg11_bn": ("classifier.6",),
    "torchvision/vit_b_16": ("heads.head",),
    "timm/convnext_atto": ("head.fc",),
    "timm/deit_tiny_distilled_patch16_224": ("head", "head_dist"),
    "timm/resnet18": ("fc",),
    "timm/swin_tiny_patch4_window7_224": ("head.fc",),
    "timm/tf_efficientnet_lite0": ("classifier",),
    "timm/vit_tiny_patch16_224": ("head",),
    "transferlab/convnet": ("head",),
    "transferlab/resnet18_32px": ("fc",),
    "transferlab/resnet9_32px": ("fc",),
    "transferlab/small_resnet": ("fc",),
}
STEPS = Stage(epochs=1, optimizer=SGD(lr=0.1), trainable="head")


@pytest.mark.parametrize("name", HEADS)
def test_every_family_can_be_built_and_checked(name):
    config = Strategy(model=Model(name=name), stages={"head": STEPS})
    size = factory.view_of(config.model, config.input, None).size
    assert registry.heads(name, size) == HEADS[name]
    checks.check(config)
    skeleton = registry.skeleton(name, 5, size)
    assert all(tensor.is_meta for tensor in skeleton.state_dict().values())
    trained = freezing.scales("head", skeleton, HEADS[name])
    assert all(registry.in_head(parameter, HEADS[name]) for parameter in trained)
    logits = skeleton.eval()(torch.empty(2, 3, size, size, device="meta"))
    assert logits.shape == (2, 5)


@pytest.mark.parametrize("name", ["timm/test_resnet", "timm/test_efficientnet", "torchvision/shufflenet_v2_x0_5"])
def test_batch_norm_moves_at_one_pace(name):
    net = registry.build(name, 2, 64)
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {registry.BATCH_NORM_MOMENTUM}


@pytest.mark.parametrize(
    ("wrong", "field", "message"),
    [
        ({"name": "resnet18"}, "name", "must be one of torchvision/<name>, timm/<name>, transferlab/<name>"),
        ({"name": "resnet18"}, "name", "did you mean 'torchvision/resnet18' or 'timm/resnet18'"),
        ({"name": "keras/resnet18"}, "name", "did you mean 'torchvision/resnet18'"),
        ({"name": "torchvision/resnet81"}, "name", "is no torchvision model; did you mean 'resnet18'"),
        ({"name": "timm/resnet"}, "name", "is no timm model; did you mean"),
        ({"name": "transferlab/covnet"}, "name", "did you mean 'convnet'"),
        ({"name": "torchvision/resnet18", "weights": "IMAGENET1K_V9"}, "weights", "did you mean 'IMAGENET1K_V1'"),
        ({"name": "timm/resnet18", "weights": "a1_in2k"}, "weights", "did you mean 'a1_in1k'"),
        ({"name": "transferlab/convnet", "weights": "DEFAULT"}, "weights", "networks of this project have none"),
    ],
)
def test_what_does_not_exist_is_refused_with_a_suggestion(wrong, field, message):
    with pytest.raises(FieldProblems) as caught:
        registry.check(Model(**wrong))
    assert [problem.field for problem in caught.value.problems] == [field]
    assert message in caught.value.problems[0].message


def test_without_weights_a_network_has_a_size_and_no_statistics():
    preset = registry.preset(Model(name="torchvision/efficientnet_b3"))
    assert (preset.size, preset.resize, preset.mean, preset.std) == (300, 320, None, None)
