import subprocess
import sys

import torch
from hypothesis import given
from hypothesis import strategies as st

from transferlab.core.runtime.seeding import derive, generator, global_seed, permutation

KEYS = st.lists(st.integers(0, 50) | st.text(max_size=3), max_size=4).map(tuple)
CPU = torch.device("cpu")


@given(KEYS, KEYS)
def test_a_seed_is_a_function_of_its_key_alone(one, other):
    assert 0 <= derive(*one) < 2**32
    assert (derive(*one) == derive(*other)) == (one == other)


def test_a_number_is_not_its_text():
    assert len({derive(1), derive("1"), derive(1, ""), derive(1, 0), derive("1, 0")}) == 5


def test_another_process_derives_the_same_seed():
    code = "from transferlab.core.runtime.seeding import derive; print(derive(3, 'augment', 7))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == derive(3, "augment", 7)


def test_generators_do_not_disturb_each_other_or_the_global_one():
    before = torch.get_rng_state()
    first, second = generator(1, "a"), generator(1, "b")
    interleaved = [(torch.rand(3, generator=first), torch.rand(3, generator=second)) for _ in range(2)]
    again = generator(1, "b")
    for _, drawn in interleaved:
        assert torch.equal(drawn, torch.rand(3, generator=again))
    assert not torch.equal(interleaved[0][0], interleaved[0][1])
    assert torch.equal(before, torch.get_rng_state())


@given(st.integers(0, 200), st.integers(0, 5))
def test_a_permutation_holds_every_number_once(n, epoch):
    order = permutation(n, 0, "order", epoch)
    assert sorted(order.tolist()) == list(range(n))
    assert torch.equal(order, permutation(n, 0, "order", epoch))


def test_epochs_and_seeds_have_permutations_of_their_own():
    orders = {tuple(permutation(50, seed, "order", epoch).tolist()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_a_global_seed_holds_inside_and_leaves_no_trace():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with global_seed(CPU, 1, "dropout"):
        inside = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    with global_seed(CPU, 1, "dropout"):
        assert torch.equal(torch.rand(2), inside)
    with global_seed(CPU, 2, "dropout"):
        assert not torch.equal(torch.rand(2), inside)
