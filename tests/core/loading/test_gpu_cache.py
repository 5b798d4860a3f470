import numpy as np
import pytest
import torch
from tiny import FLIP_AND_CROP, VIEW, machine, same, spec_of, split_of, stage, strategy

from transferlab.core.loading import features, gpu_cache
from transferlab.core.loading.gpu_cache import GpuCache
from transferlab.core.loading.images import Images, Split
from transferlab.core.runtime import memory
from transferlab.core.training.trial import train_trial
from transferlab.core.transforms import pixels
from transferlab.core.transforms.pixels import HostImages, ResidentImages

CPU = torch.device("cpu")
ROWS = np.arange(4)
PARTS = {"train": np.arange(11), "validation": np.arange(11, 17)}


@pytest.fixture
def moving(monkeypatch):
    """Images move to the device, here the CPU; what was uploaded, as (store's folder, number of rows)."""
    uploads, of = [], ResidentImages.of
    monkeypatch.setattr(gpu_cache, "pays", lambda *_: True)
    monkeypatch.setattr(
        ResidentImages,
        "of",
        lambda store, rows, where: (uploads.append((store.folder, len(rows))), of(store, rows, where))[1],
    )
    return uploads


def test_the_same_images_are_uploaded_once(tmp_path, moving):
    one, other = (split_of(tmp_path / name, 4).store for name in ("one", "other"))
    cache = GpuCache(CPU)
    first = cache.keep(one, ROWS)
    second = cache.keep(one, ROWS[:2])
    assert cache.keep(one, ROWS.copy()) is first
    assert moving == [(one.folder, 4), (one.folder, 2)]
    assert cache.nbytes == first.flat_P3.nbytes + second.flat_P3.nbytes
    cache.keep(one, ROWS[::-1])
    cache.keep(other, ROWS)
    assert moving[2:] == [(one.folder, 4), (other.folder, 4)]


def test_all_stages_share_an_upload_and_end_with_the_same_bits(tmp_path, moving, monkeypatch):
    monkeypatch.setattr(features, "MOST_RENDERED_BYTES", 0)
    both = split_of(tmp_path / "store", 17)
    splits = [Split(name, both.store, rows, both.labels[rows]) for name, rows in PARTS.items()]
    plan = strategy(small=stage(size=24, augmentation=FLIP_AND_CROP), full=stage(augmentation=FLIP_AND_CROP, views=2))
    on_device = train_trial(spec_of(plan, *splits), tmp_path / "features", lambda _: None)
    assert moving == [(both.store.folder, 11), (both.store.folder, 6)]
    monkeypatch.setattr(gpu_cache, "pays", lambda *_: False)
    on_host = train_trial(spec_of(plan, *splits), tmp_path / "features", lambda _: None)
    assert [row.loss for row in on_device.steps] == [row.loss for row in on_host.steps]
    assert same(on_device.checkpoint.tensors, on_host.checkpoint.tensors)


def test_many_images_are_uploaded_in_parts(tmp_path, monkeypatch):
    store = split_of(tmp_path, 9).store
    whole = ResidentImages.of(store, ROWS, CPU)
    monkeypatch.setattr(pixels, "UPLOAD_BYTES", 2 * 36 * 43 * 3)
    in_parts = ResidentImages.of(store, ROWS, CPU)
    assert torch.equal(in_parts.flat_P3, whole.flat_P3)
    assert torch.equal(in_parts.canvas(), HostImages(store.batch(ROWS), CPU).canvas())


def test_images_whose_features_are_kept_are_not_uploaded(tmp_path, moving):
    splits = split_of(tmp_path / "train", 11), split_of(tmp_path / "validation", 6, "validation", seed=1)
    train_trial(spec_of(strategy(head=stage(trainable="head")), *splits), tmp_path / "features", lambda _: None)
    assert moving == []


def test_on_a_cpu_images_stay_where_they_are(tmp_path):
    images = Images(split_of(tmp_path, 4), VIEW, machine())
    images.move_to(GpuCache(CPU))
    assert not images.on_device


@pytest.mark.parametrize(
    ("needed", "held", "fits"), [(59, 0, True), (60, 0, False), (40, 30, True), (50, 30, False), (69, 80, False)]
)
def test_together_they_fill_less_than_half_of_what_would_be_free_without_them(monkeypatch, needed, held, fits):
    # 100 bytes are free, and 20 that torch has and does not use.
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 30)
    assert memory.has_room(torch.device("cuda"), needed, held) == fits
    assert gpu_cache.pays(torch.device("cuda"), needed, held) == fits
    assert not gpu_cache.pays(CPU, needed, held)
