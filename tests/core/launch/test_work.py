"""The estimate by which a cluster begins with the longest trials."""

from dataclasses import replace

import pytest
from tiny import FLIP_AND_CROP, spec_of, split_of, stage, strategy

from transferlab.core.launch.work import flops_of_image, passes


@pytest.fixture
def spec(tmp_path):
    stages = {
        "head": stage(epochs=2, trainable="head", augmentation=FLIP_AND_CROP, views=2),
        "fresh": stage(epochs=4, trainable="head", augmentation=FLIP_AND_CROP),
        "small": stage(epochs=4, size=16),
        "tune": stage(epochs=3),
    }
    return spec_of(strategy(**stages), split_of(tmp_path, 10))


def test_kept_features_cost_little_a_backward_pass_two_forward_ones_and_finished_epochs_nothing(spec):
    assert passes(spec) == pytest.approx(10 * (2 * 0.01 + 4 * 1 + 4 * 3 / 4 + 3 * 3))
    assert passes(spec, finished=7) == pytest.approx(10 * (3 * 3 / 4 + 3 * 3))
    assert passes(spec, finished=13) == 0


def test_a_convolution_is_counted_by_its_multiplications_and_additions(spec):
    counted = flops_of_image(spec.initial)
    larger = replace(spec.initial.header, view=replace(spec.initial.header.view, size=64))
    assert flops_of_image(replace(spec.initial, header=larger)) == pytest.approx(4 * counted, rel=0.05)
    assert counted > 1e5
