"""Every split must be used by equally many trials."""

import pytest

from transferlab.config.checks import conflicts
from transferlab.config.parse import read
from transferlab.config.schema import Experiment


def experiment(split, trials, folder):
    return read(
        Experiment,
        {
            "dataset": {"source": {"name": "folder", "path": str(folder)}, "split": split},
            "training": {"trials": trials},
            "strategies": {"untrained": {"model": {"name": "transferlab/convnet"}, "stages": {}}},
            "report": {"title": "Splits"},
        },
    )


@pytest.mark.parametrize(
    ("split", "trials", "wrong"),
    [
        ({}, 7, False),
        ({"resplits": 3}, 3, False),
        ({"resplits": 3}, 6, False),
        ({"resplits": 3}, 4, True),
        ({"resplits": 3}, 2, True),
        ({"folds": 5, "repeats": 2}, 10, False),
        ({"folds": 5, "repeats": 2}, 5, True),
    ],
)
def test_trials_are_a_multiple_of_the_splits(tmp_path, split, trials, wrong):
    found = [problem.field for problem in conflicts(experiment(split, trials, tmp_path))]
    assert found == (["training.trials"] if wrong else [])
