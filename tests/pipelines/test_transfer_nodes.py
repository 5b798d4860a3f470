from dataclasses import replace

import pandas as pd
import pytest
from tiny import STATISTICS, stage, strategy

from transferlab.config.schema import Training
from transferlab.core.models.backbones.model import Model
from transferlab.core.models.checkpoint import CheckpointError
from transferlab.core.training.objective import ClassWeightsError
from transferlab.core.transforms.input import Input
from transferlab.pipelines.transfer.nodes import Job, build_model


def test_class_weights_of_no_class_are_told_before_anything_is_trained():
    statistics = {**STATISTICS, "classes": ["ants", "bees"]}
    with pytest.raises(ClassWeightsError, match=r"stages\.tune\.class_weights\.bee: .*did you mean 'bees'"):
        build_model(strategy(tune=stage(class_weights={"bee": 2.0})), Training(), statistics)
    build_model(strategy(tune=stage(class_weights={"bees": 2.0})), Training(), statistics)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"model": Model(name="transferlab/small_resnet")}, "made with timm/test_resnet, and strategies.b.model.name"),
        ({"input": Input(size=16, resize=16)}, r"made with View\(size=32.* and strategies.b.input is View\(size=16"),
    ],
)
def test_a_network_that_another_strategy_begins_with_is_refused(other, told):
    begun = strategy(tune=stage())
    initial, _ = build_model(begun, Training(), {**STATISTICS, "classes": ["ants", "bees"]})
    index = pd.DataFrame({"split": ["train"]})
    job = Job("b", replace(begun, **other), Training(), "accuracy", initial, index, {}, None, None, None)
    with pytest.raises(CheckpointError, match=told):
        job.specs(range(1))
