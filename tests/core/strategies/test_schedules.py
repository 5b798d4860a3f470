import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau, StepLR

from transferlab.core.strategies.schedules import Constant, Cosine, OneCycle, Plateau, Position, Step
from transferlab.core.validation import FieldProblems

LR = 0.4
EPOCHS, STEPS = st.integers(1, 12), st.integers(1, 12)


def an_optimizer(**options):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR, momentum=0.5, **options)


def positions(epochs, steps):
    """Every step of a stage: `steps` in each of its epochs."""
    return [Position(i, epochs * steps, i // steps, epochs) for i in range(epochs * steps)]


def driven(optimizer, scheduler, n):
    """Rate and momentum of torch at each of n steps."""
    seen = []
    for _ in range(n):
        seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        scheduler.step()
    return seen


@settings(deadline=None)
@given(EPOCHS, STEPS, st.floats(0.01, 0.99), st.floats(1, 100), st.floats(1, 1e5))
def test_one_cycle_is_torchs(epochs, steps, warm_up, start, end):
    total = epochs * steps
    if math.isclose(warm_up * total, 1, abs_tol=1e-6):
        return  # torch divides by zero: the peak is the first step
    ours = OneCycle(warm_up=warm_up, start=start, end=end, momentum_range=(0.8, 0.9))
    optimizer = an_optimizer()
    theirs = OneCycleLR(
        optimizer,
        max_lr=LR,
        epochs=epochs,
        steps_per_epoch=steps,
        pct_start=warm_up,
        div_factor=start,
        final_div_factor=end,
        base_momentum=0.8,
        max_momentum=0.9,
    )
    for at, (rate, momentum) in zip(positions(epochs, steps), driven(optimizer, theirs, total - 1), strict=False):
        assert ours.factor(at) * LR == pytest.approx(rate, rel=1e-6, abs=1e-9)
        assert ours.momentum(at) == pytest.approx(momentum, rel=1e-6)
    # The last rate, which torch's own test also checks, is where the cycle ends.
    last = positions(epochs, steps)[-1]
    assert ours.factor(last) * LR == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6, abs=1e-9)


def test_one_cycle_goes_up_to_the_rate_and_down_to_almost_nothing():
    rates = [OneCycle().factor(at) for at in positions(10, 10)]
    assert rates[0] == pytest.approx(1 / 25)
    assert max(rates) == rates[29] == 1.0
    assert rates[-1] == pytest.approx(1 / 25e4)
    assert OneCycle(momentum_range=None).momentum(Position(0, 10, 0, 1)) is None


@given(EPOCHS, STEPS, st.integers(1, 5), st.floats(0.05, 1))
def test_step_is_torchs(epochs, steps, every, gamma):
    optimizer = an_optimizer()
    theirs = [rate for rate, _ in driven(optimizer, StepLR(optimizer, every, gamma), epochs)]
    ours = [Step(every=every, gamma=gamma).factor(at) * LR for at in positions(epochs, steps)]
    assert ours == pytest.approx([rate for rate in theirs for _ in range(steps)])


@given(EPOCHS, STEPS, st.floats(0, 1))
def test_cosine_is_torchs_at_every_step(epochs, steps, final):
    total, optimizer = epochs * steps, an_optimizer()
    theirs = driven(optimizer, CosineAnnealingLR(optimizer, total, eta_min=final * LR), total)
    ours = [Cosine(final=final).factor(at) * LR for at in positions(epochs, steps)]
    assert ours == pytest.approx([rate for rate, _ in theirs], abs=1e-9)


@given(EPOCHS, STEPS, st.floats(0, 0.99))
def test_warm_up_rises_evenly_and_the_cosine_falls_from_there(epochs, steps, warm_up):
    total = epochs * steps
    rates = [Cosine(warm_up=warm_up).factor(at) for at in positions(epochs, steps)]
    warm = math.ceil(warm_up * total)
    rises = [after - before for before, after in zip([0.0, *rates], rates[:warm], strict=False)]
    assert rises == pytest.approx([1 / (warm_up * total + 1)] * warm)
    assert rates[warm:] == sorted(rates[warm:], reverse=True)
    assert all(0 < rate <= 1 for rate in rates)


LOSSES = st.lists(
    st.floats(0.01, 10) | st.sampled_from([0.5, 0.5 * (1 - 0.9e-4), 1.0, math.inf, math.nan]), max_size=30
)


@given(LOSSES, st.sampled_from(["min", "max"]), st.integers(0, 4), st.floats(0.1, 0.9))
def test_plateau_is_torchs(values, mode, patience, reduce):
    optimizer = an_optimizer()
    theirs = ReduceLROnPlateau(optimizer, mode=mode, factor=reduce, patience=patience, eps=0)
    ours = Plateau(reduce=reduce, patience=patience)
    scores = [value if mode == "max" else -value for value in values]
    for epoch in range(len(scores) + 1):
        at = Position(epoch, len(scores) + 1, epoch, len(scores) + 1, scores[:epoch])
        assert ours.factor(at) * LR == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        if epoch < len(values):
            theirs.step(values[epoch])


def test_plateau_waits_longer_than_its_patience():
    factors = [Plateau(patience=2).factor(Position(0, 9, 0, 9, [1.0] * seen)) for seen in range(8)]
    assert factors == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01])


@pytest.mark.parametrize("schedule", [Constant(), Step(every=1), Cosine(), Plateau()])
def test_only_one_cycle_moves_the_momentum(schedule):
    assert schedule.momentum(Position(0, 10, 0, 1)) is None


def test_constant_is_one():
    assert {Constant().factor(at) for at in positions(3, 3)} == {1.0}


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Step(every=0), "every"),
        (lambda: Step(every=1, gamma=0.0), "gamma"),
        (lambda: Cosine(warm_up=1.0), "warm_up"),
        (lambda: Cosine(final=1.5), "final"),
        (lambda: OneCycle(warm_up=0.0), "warm_up"),
        (lambda: OneCycle(start=0.5), "start"),
        (lambda: OneCycle(end=0.5), "end"),
        (lambda: OneCycle(momentum_range=(0.9, 0.8)), "momentum_range"),
        (lambda: Plateau(reduce=1.0), "reduce"),
        (lambda: Plateau(patience=-1), "patience"),
    ],
)
def test_impossible_schedules_are_refused_by_key(make, key):
    with pytest.raises(FieldProblems) as caught:
        make()
    assert [problem.field for problem in caught.value.problems] == [key]
