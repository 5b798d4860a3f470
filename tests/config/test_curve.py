"""A learning curve names strategies that train, each once."""

import pytest

from transferlab.config.checks import conflicts
from transferlab.config.parse import read
from transferlab.config.schema import Experiment

STAGE = {"epochs": 1, "optimizer": {"name": "sgd", "lr": 0.1}}


def experiment(**blocks):
    strategies = {
        "untrained": {"model": {"name": "transferlab/convnet"}, "stages": {}},
        "tuned": {"model": {"name": "transferlab/convnet"}, "stages": {"tune": STAGE}, "select": "best"},
    }
    dataset = {"source": {"name": "folder", "path": "nowhere"}, "split": {"validation": 0.2}}
    return read(Experiment, {"dataset": dataset, "strategies": strategies, "report": {"title": "A"}} | blocks)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tuned", ""),
        ("tune", "is no strategy of this experiment; did you mean 'tuned'?"),
        ("untrained", "trains nothing"),
    ],
)
def test_a_curve_is_of_a_strategy_that_trains(name, told):
    found = list(conflicts(experiment(learning_curve={"strategies": [name]})))
    assert len(found) == (1 if told else 0)
    for problem in found:
        assert problem.field == "learning_curve.strategies.0"
        assert told in problem.advice


def test_a_curve_names_each_strategy_once():
    (problem,) = conflicts(experiment(learning_curve={"strategies": ["tuned", "tuned"]}))
    assert (problem.field, problem.advice) == ("learning_curve.strategies.1", "is named already: leave one out")
