import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors import safe_open
from tiny import FLIP_AND_CROP, VIEW, machine, normed_net, same, spec_of, split_of, stage, strategy
from torch import nn

from transferlab.core.loading import features
from transferlab.core.loading.feature_cache import FeatureCache, FeatureCacheConfig
from transferlab.core.loading.images import Images
from transferlab.core.models import forward, freezing
from transferlab.core.models.backbones.model import Model
from transferlab.core.runtime.seeding import global_seed
from transferlab.core.strategies import optimizers
from transferlab.core.strategies.optimizers import SGD
from transferlab.core.training.trial import train_trial

HEAD = ("head",)
CPU = torch.device("cpu")
RESNET = Model(name="timm/test_resnet")


def on_features(net, images, folder, rows="head", model=RESNET, **keeping):
    freezing.apply(net, rows, HEAD)
    return features.on_features(net, [images], model, cache_in(folder, **keeping))


def cache_in(folder, **config):
    return FeatureCache(folder / "features", FeatureCacheConfig(**config))


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
    assert [row.loss for row in cached.steps] == pytest.approx([row.loss for row in plain.steps], abs=2e-4)
    assert [row.loss for row in cached.history] == pytest.approx([row.loss for row in plain.history], abs=2e-4)
    assert all(
        torch.allclose(cached.checkpoint.tensors[name], plain.checkpoint.tensors[name], atol=1e-3)
        for name in cached.checkpoint.tensors
    )
    assert same(cached.checkpoint.tensors, again.checkpoint.tensors)  # from the files of the first run


def test_the_tail_on_features_is_the_whole_network_up_to_rounding(tmp_path):
    net, images = normed_net(), Images(split_of(tmp_path / "store", 9), VIEW, machine())
    kept = on_features(net, images, tmp_path)
    whole = forward.logits(net, images.in_order(), machine())
    assert torch.allclose(forward.logits(kept.tail, kept.sources[0].in_order(), machine()), whole, atol=1e-6)
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())  # the network itself is not folded


# ---- the key ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def counted(tmp_path):
    """How many features files there are after asking for those of some images and network."""
    train = split_of(tmp_path / "store", 6)

    def ask(net=None, model=RESNET, rows="head", **changes):
        images = dataclasses.replace(Images(train, VIEW, machine(), FLIP_AND_CROP, ("views", 0), 2), **changes)
        found = on_features(net or normed_net(), images, tmp_path, rows, model).sources[0]
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
    assert counted(net(3), rows=((r"2\..*", 1.0), (".*", None))) == 4  # all that the first ones come from
    assert counted(net(3), rows=((r"2\..*", 0.1), (".*", None))) == 4  # only the rate


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
        on_features(normed_net(), dataclasses.replace(images, seed=seed), tmp_path)
    assert len(list((tmp_path / "features").iterdir())) == 1


def test_optimizer_of_the_network_trains_the_tail(tmp_path):
    # The tail is a part of the network and not a copy.
    net, images = normed_net(0.0), Images(split_of(tmp_path / "store", 6), VIEW, machine())
    optimizer = optimizers.build(SGD(lr=0.1), dict(net.named_parameters()), freezing.apply(net, "head", HEAD))
    kept = on_features(net, images, tmp_path)
    before = net.head[1].weight.clone()
    kept.tail(kept.sources[0].batch(0, torch.arange(6))).square().sum().backward()
    optimizer.step()
    assert not torch.equal(net.head[1].weight, before)


# ---- how they are kept -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("dtype", "rounding"), [("float32", 0.0), ("bfloat16", 2**-8), ("float16", 2**-11)])
def test_half_precision_rounds_and_takes_half_the_room(tmp_path, dtype, rounding):
    images = Images(split_of(tmp_path / "store", 9), VIEW, machine())
    exact = on_features(normed_net(), images, tmp_path / "exact").sources[0].batch(0, torch.arange(9))
    kept = on_features(normed_net(), images, tmp_path, dtype=dtype).sources[0]
    batch = kept.batch(0, torch.arange(9))
    assert batch.dtype == torch.float32
    assert ((batch - exact).abs() <= rounding * exact.abs()).all()
    assert kept.nbytes == 9 * 4 * (4 if dtype == "float32" else 2)


def test_features_beyond_the_limit_are_not_kept_and_the_network_runs_whole(tmp_path, caplog):
    caplog.set_level("INFO")
    images = Images(split_of(tmp_path / "store", 9), VIEW, machine())
    assert on_features(normed_net(), images, tmp_path, limit_gb=100e-9) is None
    assert "limit_gb" in caplog.text
    assert not (tmp_path / "features").exists()
    assert on_features(normed_net(), images, tmp_path, limit_gb=9 * 4 * 4e-9) is not None


def test_what_was_not_used_for_longest_makes_room(tmp_path):
    images = Images(split_of(tmp_path / "store", 9), VIEW, machine(), FLIP_AND_CROP)

    def ask(seed, folder=tmp_path, **limit):
        on_features(normed_net(), dataclasses.replace(images, seed=("views", seed)), folder, **limit)
        return {file.name: file.stat().st_size for file in (folder / "features").iterdir()}

    (size,) = ask(1, tmp_path / "alone").values()
    limit = {"limit_gb": 2.5 * size / 1e9}  # room for two
    (first,) = ask(1, **limit)
    (second,) = ask(2, **limit).keys() - {first}
    assert ask(1, **limit).keys() == {first, second}
    assert second not in ask(3, **limit)
    assert first in ask(3, **limit)


def test_a_flipped_bit_in_a_file_is_noticed_and_the_features_are_computed_again(tmp_path, caplog):
    images = Images(split_of(tmp_path / "store", 9), VIEW, machine())
    before = on_features(normed_net(), images, tmp_path).sources[0].views[0].clone()
    (file,) = (tmp_path / "features").iterdir()
    content = bytearray(file.read_bytes())
    for at in (0, 3, 40, 700, len(content) - 2):
        file.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        caplog.clear()
        assert torch.equal(on_features(normed_net(), images, tmp_path).sources[0].views[0], before)
        assert f"{file} is damaged" in caplog.text
        assert file.read_bytes()[-before.nbytes :] == content[-before.nbytes :]


def test_two_files_that_were_swapped_are_noticed(tmp_path, caplog):
    images = Images(split_of(tmp_path / "store", 9), VIEW, machine(), FLIP_AND_CROP, ("views", 0), 2)
    before = [view.clone() for view in on_features(normed_net(), images, tmp_path).sources[0].views]
    one, other = (tmp_path / "features").iterdir()
    one.rename(tmp_path / "aside")
    other.rename(one)
    (tmp_path / "aside").rename(other)
    again = on_features(normed_net(), images, tmp_path).sources[0].views
    assert all(torch.equal(view, expected) for view, expected in zip(again, before, strict=True))
    assert caplog.text.count("holds other features than its name says") == 2


def test_a_file_says_what_its_features_depend_on(tmp_path):
    images = Images(split_of(tmp_path / "store", 9), VIEW, machine(), FLIP_AND_CROP, ("views", 7), 1)
    on_features(normed_net(), images, tmp_path)
    (file,) = (tmp_path / "features").iterdir()
    with safe_open(file, framework="pt") as stored:
        key = json.loads(stored.metadata()["key"])
    assert key["model"] == RESNET.name
    assert key["machine"] == machine().numerics()
    assert key["split"] == images.split.fingerprint
    assert key["draws"]["seed"] == ["views", 7]
    assert [operation["name"] for operation in key["draws"]["operations"]] == ["random_resized_crop", "random_flip"]
    assert key["dtype"] == "float32"


def test_several_that_make_room_at_a_time_leave_each_other_what_they_need(tmp_path):
    def ask(number, cache):
        stored = cache.get({"number": number}, 1, lambda: iter([torch.full((1, 4), float(number))]))
        return stored.features.tolist() == [4 * [float(number)]]

    assert ask(0, FeatureCache(tmp_path / "alone", FeatureCacheConfig()))
    (alone,) = (tmp_path / "alone").iterdir()
    room_for_two = FeatureCache(tmp_path / "shared", FeatureCacheConfig(limit_gb=2.5 * alone.stat().st_size / 1e9))
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda number: ask(number % 7, room_for_two), range(150)))


def test_computing_tells_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(forward, "EVALUATION_BATCH", 4)
    images = [Images(split_of(tmp_path / str(n), n), VIEW, machine(), FLIP_AND_CROP, views=2) for n in (5, 4)]
    net, told = normed_net(), []
    freezing.apply(net, "head", HEAD)
    for _ in range(2):
        tell = lambda done, of: told.append((done, of))  # noqa: E731
        features.on_features(net, images, RESNET, cache_in(tmp_path), tell)
    assert told == [(4, 18), (5, 18), (9, 18), (10, 18), (14, 18), (18, 18)]


LAST_BLOCK = ((r"layer4\..*|head\..*|.*fc.*", 1.0), (".*", None))


def test_last_block_and_head_on_features_train_as_the_whole_network(tmp_path, monkeypatch):
    plan = strategy(last=stage(trainable=LAST_BLOCK, augmentation=FLIP_AND_CROP, views=2, epochs=3))
    train, held_out = split_of(tmp_path / "train", 11), split_of(tmp_path / "val", 5, "validation", seed=1)
    spec, results = spec_of(plan, train, held_out), []
    for name in ("cached", "whole"):
        results.append(train_trial(spec, tmp_path / name, lambda _: None))
        monkeypatch.setattr(features, "cut", lambda network, example: None)
    cached, whole = results
    assert len(list((tmp_path / "cached").iterdir())) == 3
    assert not (tmp_path / "whole").exists()
    assert [row.loss for row in cached.steps] == pytest.approx([row.loss for row in whole.steps], abs=2e-4)
    assert [row.loss for row in cached.history] == pytest.approx([row.loss for row in whole.history], abs=2e-4)
    assert cached.cost.feature_mb > 0
    assert whole.cost.feature_mb == 0


# ---- trials with splits of their own ---------------------------------------------------------------------------------
def test_re_splits_share_the_features_of_all_images(tmp_path):
    everything = split_of(tmp_path / "store", 9)
    parts = [everything.rows[:6], everything.rows[3:], everything.rows[[7, 0, 4]]]
    found = []
    for rows in parts:
        own = dataclasses.replace(everything, rows=rows, labels=everything.labels[rows], pool=everything.rows)
        found.append(on_features(normed_net(), Images(own, VIEW, machine()), tmp_path).sources[0].views[0])
        alone = dataclasses.replace(own, pool=None)
        computed = on_features(normed_net(), Images(alone, VIEW, machine()), tmp_path / "alone").sources[0].views[0]
        assert torch.allclose(found[-1], computed, atol=1e-6)
    assert torch.equal(found[0][3:], found[1][:3])
    assert torch.equal(found[2], torch.stack([found[1][4], found[0][0], found[0][4]]))
    assert len(list((tmp_path / "features").iterdir())) == 1


def test_re_splits_draw_an_image_the_same_in_each(tmp_path):
    everything = split_of(tmp_path / "store", 9)
    views = []
    for rows in (everything.rows[:6], everything.rows[3:]):
        own = dataclasses.replace(everything, rows=rows, labels=everything.labels[rows], pool=everything.rows)
        images = Images(own, VIEW, machine(), FLIP_AND_CROP, ("views", 0), 2)
        views.append(on_features(normed_net(), images, tmp_path).sources[0].views)
    for first, second in zip(*views, strict=True):
        assert torch.equal(first[3:], second[:3])
    assert len(list((tmp_path / "features").iterdir())) == 2
