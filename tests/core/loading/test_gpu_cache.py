import numpy as np
import pytest
import torch
from tiny import FLIP_AND_CROP, VIEW, machine, same, spec_of, split_of, stage, strategy

from transferlab.core.loading import features, gpu_cache
from transferlab.core.loading.images import Images, Split
from transferlab.core.runtime import memory
from transferlab.core.training.trial import train_trial
from transferlab.core.transforms.pixels import ResidentImages

CPU = torch.device("cpu")
ROWS = np.arange(4)
PARTS = {"train": np.arange(11), "validation": np.arange(11, 17)}


@pytest.fixture
def moving(monkeypatch):
    """Images move to the device, here the CPU; what was uploaded, as (store's folder, number of rows)."""
    uploads, of = [], ResidentImages.of
    monkeypatch.setattr(gpu_cache, "_latest", {})
    monkeypatch.setattr(gpu_cache, "pays", lambda *_: True)
    monkeypatch.setattr(
        ResidentImages,
        "of",
        lambda store, rows, where: (uploads.append((store.folder, len(rows))), of(store, rows, where))[1],
    )
    return uploads


def test_images_of_a_split_are_uploaded_once(tmp_path, moving):
    one, other = (split_of(tmp_path / name, 4).store for name in ("one", "other"))
    first = gpu_cache.keep("train", one, ROWS, CPU)
    gpu_cache.keep("validation", one, ROWS[:2], CPU)
    assert gpu_cache.keep("train", one, ROWS.copy(), CPU) is first
    assert moving == [(one.folder, 4), (one.folder, 2)]
    gpu_cache.keep("train", one, ROWS[::-1], CPU)
    assert len(gpu_cache._latest) == 2
    gpu_cache.keep("train", other, ROWS, CPU)
    assert moving[2:] == [(one.folder, 4), (other.folder, 4)]
    assert list(gpu_cache._latest) == ["train"]  # what is of another store is let go


def test_all_trials_and_stages_share_an_upload_and_end_with_the_same_bits(tmp_path, moving, monkeypatch):
    monkeypatch.setattr(features, "MOST_RENDERED_BYTES", 0)
    both = split_of(tmp_path / "store", 17)
    splits = [Split(name, both.store, rows, both.labels[rows]) for name, rows in PARTS.items()]
    plan = strategy(small=stage(size=24, augmentation=FLIP_AND_CROP), full=stage(augmentation=FLIP_AND_CROP, views=2))

    def trained(trial):
        return train_trial(spec_of(plan, *splits, trial=trial), tmp_path / "features", lambda _: None)

    on_device = [trained(trial) for trial in range(2)]
    assert moving == [(both.store.folder, 11), (both.store.folder, 6)]
    monkeypatch.setattr(gpu_cache, "pays", lambda *_: False)
    gpu_cache._latest.clear()
    for result, trial in zip(on_device, range(2), strict=True):
        on_host = trained(trial)
        assert [row.loss for row in result.steps] == [row.loss for row in on_host.steps]
        assert same(result.checkpoint.tensors, on_host.checkpoint.tensors)


def test_images_whose_features_are_kept_are_not_uploaded(tmp_path, moving):
    splits = split_of(tmp_path / "train", 11), split_of(tmp_path / "validation", 6, "validation", seed=1)
    train_trial(spec_of(strategy(head=stage(trainable="head")), *splits), tmp_path / "features", lambda _: None)
    assert moving == []


def test_on_a_cpu_images_stay_where_they_are(tmp_path):
    images = Images(split_of(tmp_path, 4), VIEW, machine())
    images.settle()
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
