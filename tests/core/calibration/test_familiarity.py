import numpy as np
import pytest

from transferlab.core.calibration.familiarity import Familiarity, Nearness, distance, neighbors_among, threshold


def features(rng, images, direction):
    return (5 * np.eye(8)[direction] + rng.normal(size=(images, 8))).astype(np.float32)


@pytest.fixture(scope="module")
def known():
    rng = np.random.default_rng(0)
    index = neighbors_among(features(rng, 400, 0))
    unit = threshold(distance(index, features(rng, 400, 0)))
    return Familiarity((Nearness((index,), (unit,)),), 1.0), index, rng


def test_a_chosen_share_of_familiar_images_is_flagged_and_strangers_are(known):
    familiarity, _, rng = known
    assert (familiarity.relative_distance([[features(rng, 2_000, 0)]]) > 1).mean() == pytest.approx(0.05, abs=0.03)
    assert (familiarity.relative_distance([[features(rng, 100, 3)]]) > 1).mean() > 0.99


@pytest.mark.parametrize("images", [19, 49, 70])
def test_few_held_out_images_flag_no_more_than_was_chosen(images):
    rng = np.random.default_rng(2)
    flagged = [(rng.normal(size=500) > threshold(rng.normal(size=images))).mean() for _ in range(400)]
    assert 0.03 < np.mean(flagged) < 0.056


def test_only_the_direction_counts(known):
    _, index, rng = known
    some = features(rng, 20, 0)
    assert distance(index, 7 * some) == pytest.approx(distance(index, some), abs=1e-6)
    assert np.isfinite(distance(index, np.zeros((1, 8)))).all()


def test_it_is_the_distance_to_the_kth_neighbor():
    angle_N = np.radians([0, 10, 20, 90])
    training = np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1)
    at = distance(neighbors_among(training, neighbors=2), np.array([[2.0, 0.0]]))
    assert at == pytest.approx(2 * np.sin(np.radians(5)))
    assert distance(neighbors_among(training, neighbors=99), training).shape == (4,)


def test_a_stranger_to_one_layer_is_one_even_if_the_others_know_it():
    rng = np.random.default_rng(1)
    indexes = tuple(neighbors_among(features(rng, 400, 0)) for _ in range(2))
    held_out = [distance(index, features(rng, 400, 0)) for index in indexes]
    nearness = Nearness(indexes, tuple(map(threshold, held_out)))
    familiarity = Familiarity((nearness,), threshold(nearness.strangest(held_out)))
    known, strange = features(rng, 1_000, 0), features(rng, 1_000, 3)
    for layers, flagged in [((known, known), 0.05), ((strange, known), 1), ((known, strange), 1)]:
        assert (familiarity.relative_distance([layers]) > 1).mean() == pytest.approx(flagged, abs=0.03)
    only_head = Nearness(indexes[1:], nearness.thresholds[1:])
    assert np.array_equal(only_head.distance([strange, known]), only_head.distance([known])), "saved before"
