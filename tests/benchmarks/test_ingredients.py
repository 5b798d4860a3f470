"""Ingredients are added to the last stage of any strategy."""

from dataclasses import replace

import pytest
from tiny import stage, strategy

from benchmarks.ingredients import PLAIN, chosen, recipes

LATE = ((r".*conv.*", None), (".*", 1.0))


def test_the_stages_before_the_last_stay_and_one_recipe_leaves_them_out():
    head, tune = stage(trainable="head", epochs=3), stage(trainable=LATE)
    every = recipes(strategy(head=head, tune=tune))
    assert every[PLAIN].stages == {"head": head, "tune": tune}
    assert every["ema 0.99"].stages == {"head": head, "tune": replace(tune, ema=0.99)}
    assert every["layer_decay 0.75"].stages["tune"].trainable.rows == LATE
    assert every["no head first"].stages == {"tune": tune}
    assert list(recipes(strategy(tune=tune))["head first"].stages) == ["probe", "tune"]


def test_a_mistyped_ingredient_is_told():
    every = recipes(strategy(tune=stage()))
    assert list(chosen(every, ["ema 0.99"])) == [PLAIN, "ema 0.99"]
    assert chosen(every, None) == every
    with pytest.raises(ValueError, match="--ingredients emma: there are plain, "):
        chosen(every, ["emma"])
