import dataclasses

import pytest
import torch
from tiny import FLIP_AND_CROP, VIEW, machine, normed_net, split_of
from torch._dynamo.utils import counters

from transferlab.core.loading import features, frozen_prefix
from transferlab.core.loading.feature_cache import FeatureCache, FeatureCacheConfig
from transferlab.core.loading.images import Images
from transferlab.core.models import forward, freezing
from transferlab.core.models.backbones.model import Model
from transferlab.core.models.compiled_pass import can_compile

IMAGES, BATCH, VIEWS = 11, 4, 2


@pytest.fixture
def views_of(tmp_path, monkeypatch):
    """Asks for the views (2, 11, 4) of images in batches of 4, compiled or not."""
    monkeypatch.setattr(forward, "EVALUATION_BATCH", BATCH)
    monkeypatch.setattr(frozen_prefix, "_passes", {})
    frozen_prefix._warn_once.cache_clear()
    split, cache = split_of(tmp_path / "store", IMAGES), FeatureCache(tmp_path / "features", FeatureCacheConfig())

    def ask(net=None, seed=0, **changes):
        on, net = dataclasses.replace(machine(), **changes), net or normed_net()
        freezing.apply(net, "head", ("head",))
        images = Images(split, VIEW, on, FLIP_AND_CROP, ("views", seed), VIEWS)
        found = features.on_features(net, [images], Model(name="timm/test_resnet"), cache)
        return torch.stack(found.sources[0].views)

    return ask


@pytest.fixture
def compilations(monkeypatch):
    """A list for each network that torch was asked to compile: the sizes of its passes, which run as they are."""
    asked = []
    monkeypatch.setattr(torch, "compile", lambda network, dynamic: (asked.append([]), counted(network, asked[-1]))[1])
    return asked


def counted(network, passes):
    return lambda x: (passes.append(len(x)), network(x))[1]


def files(folder):
    return {file.name for file in (folder / "features").iterdir()}


@pytest.mark.skipif(not can_compile(), reason="torch compiles for a CPU on Linux, with g++ and Python.h")
@pytest.mark.filterwarnings("ignore")  # of torch's compiler
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_compiled_layers_compute_the_same_features(views_of, tmp_path, monkeypatch, dtype, rounding):
    plain = views_of(dtype=dtype, compile=False)
    of_plain, graphs = files(tmp_path), counters["stats"]["unique_graphs"]
    compiled = views_of(dtype=dtype, compile=True)
    assert counters["stats"]["unique_graphs"] == graphs + 1  # the last batches, of 3, need no kernels of their own
    assert torch.allclose(compiled, plain, rtol=0, atol=rounding * plain.std())
    assert files(tmp_path) > of_plain
    assert len(files(tmp_path)) == 2 * VIEWS

    other = normed_net()  # its weights are constants of other kernels
    with torch.no_grad():
        other.body[0].weight.mul_(1.5)
    assert torch.allclose(
        views_of(other, dtype=dtype, compile=True),
        views_of(other, dtype=dtype, compile=False),
        atol=rounding * plain.std(),
    )

    assert len(frozen_prefix._passes) == 2
    views_of(dtype=dtype, compile=True, seed=1)
    assert len(frozen_prefix._passes) == 2  # another strategy's views of the same images need no other kernels

    monkeypatch.setattr(torch, "compile", None)  # what is in files needs no compiler
    assert torch.equal(views_of(dtype=dtype, compile=True), compiled)
    assert torch.equal(views_of(dtype=dtype, compile=False), plain)


@pytest.mark.parametrize(("micro_batch", "size"), [(None, 4), (9, 4), (4, 4), (3, 2), (1, 1)])
def test_passes_have_one_size_and_little_is_padded(views_of, compilations, micro_batch, size):
    views_of(compile=True, micro_batch=micro_batch)
    (passes,) = compilations
    assert set(passes) == {size}
    assert len(passes) == 1 + 2 * -(-IMAGES // size)  # the first is compared with the network's own


def test_auto_compiles_what_is_much_work(views_of, compilations, tmp_path, monkeypatch):
    views_of(compile=False)
    few = files(tmp_path)
    pixels = 2 * IMAGES * VIEW.size**2
    monkeypatch.setattr("transferlab.core.models.compiled_pass.can_compile", lambda: True)
    for most, compiles in ((pixels, False), (pixels - 1, True)):
        monkeypatch.setattr("transferlab.core.models.compiled_pass.LONG_PREFIX_PIXELS", most)
        views_of()
        assert len(compilations) == compiles
    assert len(files(tmp_path) - few) == VIEWS


def test_where_compiling_fails_the_features_are_those_of_uncompiled_layers(views_of, tmp_path, monkeypatch, caplog):
    tried = []

    def fails(x):
        tried.append(x)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "compile", lambda network, dynamic: fails)
    found = views_of(compile=True)
    kept = files(tmp_path)
    assert torch.equal(views_of(compile=True), found)
    assert torch.equal(views_of(compile=False), found)
    assert files(tmp_path) == kept
    assert len(kept) == VIEWS
    assert len(tried) == 1
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "No space left on device" in warning
    assert "training.compute.compile" in warning
