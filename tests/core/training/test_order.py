import torch
from hypothesis import given
from hypothesis import strategies as st

from transferlab.core.training import distributed, order


@given(st.integers(1, 50), st.integers(2, 12))
def test_batches_hold_every_image_and_none_is_of_one(n, size):
    cut = order.batches(torch.arange(n), size)
    assert torch.cat(cut).tolist() == list(range(n))
    assert all(len(rows) == size for rows in cut[:-1])
    assert 2 <= len(cut[-1]) <= size + 1 or n == 1


@given(st.integers(1, 40), st.integers(1, 9), st.none() | st.integers(1, 9), st.integers(1, 2))
def test_every_pass_shows_its_own_images_first_and_enough_of_its_batch(n, ranks, limit, least):
    rows_B = torch.arange(n) + 100
    for part in (part for share in distributed.shares(rows_B, ranks, limit) for part in share):
        shown = order.padded(part, rows_B, least)
        assert shown[: len(part)].tolist() == part.tolist()
        assert len(shown) == max(len(part), min(least, n))
        assert len(set(shown.tolist())) == len(shown)
        assert set(shown.tolist()) <= set(rows_B.tolist())


@given(st.integers(2, 9), st.integers(1, 4), st.integers(1, 3))
def test_mixed_and_repeated_images_are_padded_too(n, ranks, repeats):
    rows_B = (torch.arange(n) // repeats) + 100
    pairs_2B = torch.stack([rows_B, rows_B.roll(1)])
    for part in (part for share in distributed.shares(pairs_2B, ranks, 1) for part in share):
        shown = order.padded(part, pairs_2B, 2)
        assert shown[:, : part.shape[1]].tolist() == part.tolist()
        assert shown.shape == (2, 2)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 9))
def test_a_balanced_epoch_shows_all_classes_equally_often_and_the_images_of_each_too(labels, seed):
    labels_N = torch.tensor(labels)
    rows_N = order.drawn("balanced", labels_N, seed)
    assert len(rows_N) == len(labels)
    by_class = torch.bincount(labels_N[rows_N])[labels_N.unique()]
    assert by_class.max() - by_class.min() <= 1
    for label in labels_N.unique():
        members = (labels_N == label).nonzero()[:, 0]
        times = torch.bincount(rows_N, minlength=len(labels))[members]
        assert times.max() - times.min() <= 1
    assert torch.equal(rows_N, order.drawn("balanced", labels_N, seed))


def test_orders_of_other_keys_are_others():
    labels_N = torch.arange(40) % 3
    for sampler in (None, "balanced"):
        one, other = (order.drawn(sampler, labels_N, seed, "order") for seed in (0, 1))
        assert not torch.equal(one, other)
    assert sorted(order.drawn(None, labels_N, 0).tolist()) == list(range(40))
