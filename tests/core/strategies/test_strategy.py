import json
import math

import pytest
from tiny import stage, strategy

from transferlab.core.strategies.optimizers import SGD, Adam, Clip
from transferlab.core.strategies.schedules import Constant, OneCycle, Plateau, Step
from transferlab.core.validation import FieldProblems

NEVER = [math.nan, math.inf, -math.inf, -50.0]


@pytest.mark.parametrize("wrong", [*NEVER, 0.0, 1e40])
@pytest.mark.parametrize("optimizer", [SGD, lambda lr: Adam(name="adamw", lr=lr)])
def test_a_learning_rate_is_positive_and_finite(optimizer, wrong):
    with pytest.raises(FieldProblems, match=r"lr: .* must be above 0"):
        optimizer(lr=wrong)


@pytest.mark.parametrize("wrong", [*NEVER, 1e40])
def test_decay_and_clipping_are_finite(wrong):
    with pytest.raises(FieldProblems, match=r"weight_decay: .* must be from 0"):
        SGD(lr=0.1, weight_decay=wrong)
    with pytest.raises(FieldProblems, match=r"at: .* must be above 0"):
        Clip(by="norm", at=wrong)


@pytest.mark.parametrize("wrong", [*NEVER, 0.0, 1e40])
def test_scales_are_positive_and_finite(wrong):
    with pytest.raises(FieldProblems, match=r"trainable: .* must be null \(frozen\) or above 0 and at most 1e\+06"):
        stage(trainable=((".*", wrong),))


def test_every_wrong_row_is_told():
    with pytest.raises(FieldProblems) as caught:
        stage(trainable=(("(", 1.0), ("a", -1.0)), epochs=0)
    assert [problem.field for problem in caught.value.problems] == ["epochs", "trainable", "trainable"]
    assert "'(' is no regular expression" in str(caught.value)


@pytest.mark.parametrize("field", ["epochs", "batch_size", "views", "size"])
@pytest.mark.parametrize("wrong", [0, -1, 10**30, math.inf])
def test_counts_are_of_a_sane_size(field, wrong):
    with pytest.raises(FieldProblems, match=rf"^{field}: .* must be from"):
        stage(**{field: wrong})


@pytest.mark.parametrize(
    "make",
    [
        lambda wrong: Step(every=wrong),
        lambda wrong: Plateau(patience=wrong),
        lambda wrong: OneCycle(start=wrong),
        lambda wrong: OneCycle(end=wrong),
        lambda wrong: OneCycle(momentum_range=(0.1, wrong)),
    ],
)
@pytest.mark.parametrize("wrong", [*NEVER, 10**40])
def test_schedules_are_finite(make, wrong):
    with pytest.raises(FieldProblems):
        make(wrong)


def test_a_recipe_is_plain_json_with_every_default():
    recipe = strategy(tune=stage(trainable=(("fc.*", 0.5), (".*", None)))).to_json()
    assert json.loads(json.dumps(recipe)) == recipe
    tune = recipe["stages"]["tune"]
    assert tune["optimizer"] == {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0}
    assert tune["trainable"] == [["fc.*", 0.5], [".*", None]]
    assert tune["schedule"] == {"name": Constant().name}
