import torch
from hypothesis import given
from hypothesis import strategies as st

from transferlab.core.training import distributed


@given(st.integers(1, 40), st.integers(1, 9), st.none() | st.integers(1, 9))
def test_shares_hold_each_image_once_in_as_many_passes_on_every_rank(images, count, limit):
    shares = distributed.shares(torch.arange(images), count, limit)
    assert torch.cat([rows for passes in shares for rows in passes]).tolist() == list(range(images))
    assert len(shares) == count
    assert len({len(passes) for passes in shares}) == 1
    sizes = [sum(map(len, passes)) for passes in shares]
    assert max(sizes) - min(sizes) <= 1
    longest = max(len(rows) for passes in shares for rows in passes)
    assert longest <= (limit or images)
    assert len(shares[0]) == -(-max(sizes) // (limit or images))  # no more passes than needed


def test_a_process_alone_is_rank_0_of_1():
    assert (distributed.number(), distributed.count()) == (0, 1)
    network = torch.nn.Linear(2, 2)
    assert distributed.parallel(network) is distributed.synchronized(network) is network
