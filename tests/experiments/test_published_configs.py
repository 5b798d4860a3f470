"""The five published experiments say what was published, and fit their networks."""

from dataclasses import replace

import pytest

from transferlab import settings
from transferlab.config.loader import ExperimentConfigLoader
from transferlab.config.parse import check_networks
from transferlab.core.data.sources import ArchiveSource, TorchvisionSource
from transferlab.core.models import factory
from transferlab.core.models.backbones.model import Model
from transferlab.core.strategies import schedules
from transferlab.core.strategies import summary as summary_module
from transferlab.core.transforms import operations

pytestmark = pytest.mark.filterwarnings("ignore:register_new_resolver")

EXPERIMENTS = ["hymenoptera", "imagewoof", "cifar10_224", "cifar10_staged", "cifar10_scratch"]
STATISTICS = {"mean": [0.5] * 3, "std": [0.25] * 3}


@pytest.fixture(scope="module")
def load(request):
    conf = request.config.rootpath / "conf"

    def experiment(name, deep=False, **params):
        loader = ExperimentConfigLoader(str(conf), env=name, runtime_params=params, **settings.CONFIG_LOADER_ARGS)
        if deep:
            check_networks(loader.experiment, name)
        return loader.experiment

    return experiment


def only_stage(strategy):
    (stage,) = strategy.stages.values()
    return stage


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_fits_its_networks_and_says_where_its_images_are_from(load, name):
    experiment = load(name, deep=True)
    assert experiment.dataset.licence
    assert experiment.report.published
    assert all(row.selection for row in experiment.report.published)
    assert experiment.training.trials == (10 if name == "hymenoptera" else 3)


@pytest.mark.parametrize("name", EXPERIMENTS[:-1])
def test_weights_of_a_package_can_take_the_place_of_the_hubs(load, name):
    lite = {"_backbone": "efficientnet_lite0", "_large_backbone": "efficientnet_lite0"}
    experiment = load(name, deep=True, **lite)
    weights = [strategy.model.weights for strategy in experiment.strategies.values()]
    assert any(weights)
    assert all(given.startswith("package://") for given in weights if given)


def test_a_mirror_is_one_place_or_a_list(load):
    assert load("hymenoptera", dataset={"mirror": "a/mirror"}).dataset.mirror == ("a/mirror",)
    assert load("hymenoptera", dataset={"mirror": ["a", "b"]}).dataset.mirror == ("a", "b")


def test_hymenoptera(load):
    experiment = load("hymenoptera")
    assert isinstance(experiment.dataset.source, ArchiveSource)
    assert len(experiment.dataset.source.hashes) == 2
    published = {row.strategy: experiment.strategies[row.strategy] for row in experiment.report.published}
    trainable = {name: only_stage(strategy).trainable for name, strategy in published.items()}
    assert trainable == {"scratch": "all", "fine_tuning": "all", "feature_extraction": "head"}
    for strategy in published.values():
        stage = only_stage(strategy)
        assert (stage.epochs, stage.batch_size, stage.schedule.name) == (20, 4, "constant")
        assert (stage.optimizer.name, stage.optimizer.lr, stage.optimizer.momentum) == ("sgd", 1e-4, 0.9)
        assert stage.augmentation == (operations.RandomResizedCrop(), operations.RandomFlip())
        assert strategy.select == "last"


def test_imagewoof(load):
    experiment = load("imagewoof")
    assert experiment.dataset.subsets == {"ilsvrc_val": "*/ILSVRC2012_val_*"}
    assert experiment.dataset.seen_in_pretraining
    assert len(experiment.dataset.layout.names) == 10
    pretrained, random_init = (experiment.strategies[name] for name in ("pretrained", "random_init"))
    assert [stage.trainable for stage in pretrained.stages.values()] == ["head", "all"]
    assert pretrained.epochs == random_init.epochs == 10
    assert random_init.model.weights is None
    for stage in (*pretrained.stages.values(), *random_init.stages.values()):
        assert (stage.optimizer.name, stage.optimizer.lr, stage.optimizer.weight_decay) == ("adam", 1e-4, 1e-4)
        assert (stage.clip.by, stage.clip.at, stage.batch_size) == ("value", 0.1, 64)
        assert stage.schedule == schedules.OneCycle(warm_up=0.3)
        assert stage.augmentation == (
            operations.RandomCrop(padding=4, padding_mode="reflect"),
            operations.RandomFlip(),
        )
    assert (random_init.input.size, random_init.input.held_out) == (160, "squash")


def test_cifar10_224_trains_5130_of_11181642_parameters(load):
    experiment = load("cifar10_224")
    assert isinstance(experiment.dataset.source, TorchvisionSource)
    strategy = experiment.strategies["feature_extraction"]
    strategy = replace(strategy, model=Model(name=strategy.model.name))  # the weights change no count
    checkpoint = factory.initial(strategy.model, strategy.input, [str(k) for k in range(10)], STATISTICS, 0)
    summary = summary_module.summary(strategy, checkpoint)
    assert (summary["parameters"].sum(), summary["trainable_head"].sum()) == (11_181_642, 5_130)
    stages = {name: only_stage(experiment.strategies[name]) for name in ("feature_extraction", "fine_tuning")}
    assert [stage.batch_size for stage in stages.values()] == [64, 16]
    assert [stage.trainable for stage in stages.values()] == ["head", "all"]
    for stage in stages.values():
        assert (stage.optimizer.lr, stage.optimizer.weight_decay, stage.epochs) == (1e-3, 1e-3, 20)
    heavy = [operation.name for operation in stages["fine_tuning"].augmentation]
    assert heavy == ["random_resized_crop", "random_rotation", "color_jitter", "random_resized_crop", "random_flip"]


def test_cifar10_staged(load):
    experiment = load("cifar10_staged")
    staged, scratch = experiment.strategies["staged"], experiment.strategies["scratch"]
    assert [(stage.trainable, stage.epochs, stage.optimizer.lr) for stage in staged.stages.values()] == [
        ("head", 5, 1e-3), ("all", 35, 1e-4),
    ]  # fmt: skip
    assert not any(stage.keep_optimizer for stage in staged.stages.values())
    assert experiment.strategies["pretrained_untrained"].stages == {}
    assert (scratch.model.name, scratch.model.weights, scratch.epochs) == (staged.model.name, None, 40)
    for stage in (*staged.stages.values(), only_stage(scratch)):
        assert (stage.schedule, stage.monitor) == (schedules.Plateau(reduce=0.5, patience=2), "loss")
        assert (stage.optimizer.name, stage.optimizer.weight_decay, stage.batch_size) == ("adam", 1e-4, 64)
    assert experiment.dataset.split.validation > 0  # by which the plateau decides


def test_cifar10_scratch(load):
    experiment = load("cifar10_scratch")
    published, ours = (only_stage(experiment.strategies[name]) for name in ("scratch", "scratch_one_cycle"))
    assert (published.optimizer.name, published.optimizer.lr) == ("adam", 0.01)
    assert (published.batch_size, published.epochs) == (128, 50)
    assert published.augmentation == (operations.RandomCrop(padding=4), operations.RandomFlip())
    assert ours.epochs <= 30
    assert {line.label: line.value for line in experiment.report.reference_lines}["DPN92"] == 0.9516
