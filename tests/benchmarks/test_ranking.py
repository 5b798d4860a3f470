"""How rankings are held against tuning is checked on made-up networks."""

import pytest

from benchmarks.ranking import agreement, apart

IMAGES = 400


def network(probe, right, trials=3):
    """Make up one that gets the same first images right in every trial."""
    return {"probe": probe, "hits": ["1" * right + "0" * (IMAGES - right)] * trials}


def test_a_ranking_that_tuning_confirms():
    found = agreement({"a": network(0.7, 200), "b": network(0.8, 260), "c": network(0.9, 320)}, "probe")
    assert found == {"tau": 1, "told_apart": 3, "right": 3, "lost": 0}


def test_a_ranking_that_tuning_turns_round():
    found = agreement({"a": network(0.9, 200), "b": network(0.8, 260), "c": network(0.7, 320)}, "probe")
    assert found == {"tau": -1, "told_apart": 3, "right": 0, "lost": pytest.approx(120 / IMAGES)}


def test_a_difference_of_one_image_tells_no_networks_apart():
    cells = {"a": network(0.9, 300), "b": network(0.8, 301)}
    ahead, half = apart(cells["a"], cells["b"])
    assert ahead == pytest.approx(-1 / IMAGES)
    assert half > 1 / IMAGES
    assert agreement(cells, "probe")["told_apart"] == 0
