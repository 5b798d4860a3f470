import dataclasses
import pickle

import numpy as np
import pytest
import torch
from tiny import FLIP_AND_CROP, VIEW, machine, photographs, split_of, store_of

from transferlab.core.loading import features
from transferlab.core.loading.features import Features, rendered
from transferlab.core.loading.gpu_cache import GpuCache
from transferlab.core.loading.images import Images, Split
from transferlab.core.loading.splits import part_of
from transferlab.core.models import forward
from transferlab.core.transforms.operations import ColorJitter, RandomRotation

CPU = torch.device("cpu")
N = 7
ALL = (*FLIP_AND_CROP, RandomRotation(degrees=10), ColorJitter(brightness=0.3, hue=0.1))


@pytest.fixture
def split(tmp_path):
    return split_of(tmp_path / "store", N)


def augmented(split, seed=("augment", 1), views=None):
    return Images(split, VIEW, machine(), ALL, seed, views)


def whole(images, epoch=0):
    return images.batch(epoch, torch.arange(len(images.split)))


def test_an_images_view_does_not_depend_on_batch_size_or_order(split):
    expected = whole(augmented(split), epoch=3)
    for size in (1, 2, 5):
        order = torch.randperm(N, generator=torch.Generator().manual_seed(size))
        for rows in torch.split(order, size):
            assert torch.allclose(augmented(split).batch(3, rows), expected[rows], atol=1e-4)


def test_a_few_held_out_images_are_rendered_once_and_many_when_they_are_needed(split, monkeypatch):
    held_out = Images(split, VIEW, machine())
    few, rows = rendered(held_out, GpuCache(CPU)), torch.tensor([4, 0, 6])
    assert isinstance(few, Features)
    batch = few.batch(5, rows)
    assert torch.equal(batch, held_out.batch(5, rows))
    assert batch.is_contiguous(memory_format=machine().memory_format)
    monkeypatch.setattr(features, "MOST_RENDERED_BYTES", N * 3 * 32 * 32 * 4 - 1)
    assert rendered(held_out, GpuCache(CPU)) is held_out


def test_epochs_may_be_asked_for_in_any_order(split):
    forwards, backwards = augmented(split), augmented(split)
    expected = [whole(forwards, epoch) for epoch in range(3)]
    for epoch in (2, 0, 1, 2):
        assert torch.equal(whole(backwards, epoch), expected[epoch])


def test_the_same_seed_gives_the_same_bits_and_no_two_seeds_share_a_view(split):
    keys = [("augment", 1), ("augment", 2), ("augment", "1"), ("views", 1)]
    views = [whole(augmented(split, key), epoch) for key in keys for epoch in range(3)]
    again = [whole(augmented(split, key), epoch) for key in keys for epoch in range(3)]
    assert all(torch.equal(one, other) for one, other in zip(views, again, strict=True))
    images = torch.stack(views, dim=1)  # one image in all its views
    for row in range(N):
        assert len(images[row].flatten(1).unique(dim=0)) == len(views)


def test_k_views_are_used_in_turn(split):
    images = augmented(split, views=2)
    views = [whole(images, epoch) for epoch in range(5)]
    assert torch.equal(views[0], views[2])
    assert torch.equal(views[1], views[3])
    assert not torch.equal(views[0], views[1])
    assert torch.equal(whole(augmented(split, views=2), 4), views[0])
    assert [images.view_number(epoch) for epoch in range(4)] == [0, 1, 0, 1]
    assert [augmented(split).view_number(epoch) for epoch in range(4)] == [0, 1, 2, 3]


def test_held_out_images_look_the_same_whenever_asked(split):
    held_out = Images(split, VIEW, machine())
    assert torch.equal(whole(held_out, 0), whole(held_out, 5))
    assert torch.equal(whole(held_out), whole(Images(split, VIEW, machine(), (), ("augment", 9))))
    resized = split.store[0].astype(np.float32) / 255  # 36 px on the short side, 43 on the long
    centre = (resized[2:34, 6:38] - VIEW.mean) / VIEW.std
    assert torch.allclose(whole(held_out)[0], torch.from_numpy(centre).float().permute(2, 0, 1), atol=1e-5)


def test_in_order_gives_every_image_once(split, monkeypatch):
    monkeypatch.setattr(forward, "EVALUATION_BATCH", 3)
    images = augmented(split, views=2)
    batches = list(images.in_order(1))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert torch.allclose(torch.cat(batches), whole(images, 1), atol=1e-4)


@pytest.mark.parametrize(
    ("device", "shape", "batch"),
    [
        ("cpu", (3, 224, 224), 16),
        ("cpu", (3, 32, 32), 64),
        ("cpu", (512,), 64),
        ("cpu", (3, 2000, 2000), 1),
        ("cuda", (3, 2000, 2000), 64),
        ("cuda", (3, 224, 224), 64),
        ("cuda", (3, 32, 32), 3136),
        ("cuda", (512,), 4096),
    ],
)
def test_a_cpu_takes_fewer_large_images_at_a_time_and_a_gpu_more_small_ones(device, shape, batch):
    assert forward.evaluation_batch(torch.device(device), *shape) == batch


def test_pixels_are_what_a_figure_shows(split):
    pixels = augmented(split).pixels(2)
    mean, std = (torch.tensor(values)[:, None, None] for values in (VIEW.mean, VIEW.std))
    assert torch.allclose((pixels - mean) / std, whole(augmented(split), 2), atol=1e-4)


def test_a_split_takes_its_rows_of_a_shared_store(tmp_path):
    images, labels_N = photographs(6)
    store, rows = store_of(tmp_path, images), np.array([4, 1])
    part = Split("validation", store, rows, labels_N[rows])
    alone = Split("validation", store_of(tmp_path / "own", [images[4], images[1]]), np.arange(2), labels_N[rows])
    assert len(part) == 2
    assert torch.allclose(whole(Images(part, VIEW, machine())), whole(Images(alone, VIEW, machine())))
    assert part.fingerprint == alone.fingerprint
    assert part.fingerprint != dataclasses.replace(part, rows=rows[::-1]).fingerprint


def test_distinct_views_of_an_image_are_the_same_in_every_part_of_a_split(split):
    part = part_of(split, np.arange(len(split)) % 3 != 0)
    alike, fresh = (augmented(part, views=views).draws(1).map_N23 for views in (2, None))
    every = augmented(split, views=2).draws(1).map_N23
    assert torch.equal(alike, every[part.rows])
    assert not torch.equal(fresh, every[part.rows]), "views anew in every epoch are the part's own"


def test_a_split_travels(split):
    copy = pickle.loads(pickle.dumps(split))  # noqa: S301
    assert copy.fingerprint == split.fingerprint
    assert np.array_equal(copy.labels, split.labels)


def test_features_are_used_in_turn_as_the_views_were(monkeypatch):
    monkeypatch.setattr(forward, "EVALUATION_BATCH", 3)
    views = torch.arange(14).reshape(2, 7, 1).float()
    features, rows = Features(tuple(views), torch.device("cpu")), torch.tensor([5, 0])
    for epoch in range(4):
        assert torch.equal(features.batch(epoch, rows), views[epoch % 2][rows])
    assert [len(batch) for batch in features.in_order(1)] == [3, 3, 1]
    assert torch.equal(torch.cat(list(features.in_order(1))), views[1])
