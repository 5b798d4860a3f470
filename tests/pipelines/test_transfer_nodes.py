import pytest
from tiny import STATISTICS, stage, strategy

from transferlab.config.schema import Training
from transferlab.core.training.objective import ClassWeightsError
from transferlab.pipelines.transfer.nodes import build_model


def test_class_weights_of_no_class_are_told_before_anything_is_trained():
    statistics = {**STATISTICS, "classes": ["ants", "bees"]}
    with pytest.raises(ClassWeightsError, match=r"stages\.tune\.class_weights\.bee: .*did you mean 'bees'"):
        build_model(strategy(tune=stage(class_weights={"bee": 2.0})), Training(), statistics)
    build_model(strategy(tune=stage(class_weights={"bees": 2.0})), Training(), statistics)
