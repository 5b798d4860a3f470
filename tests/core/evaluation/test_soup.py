"""Soups of real tiny trials that begin alike."""

from dataclasses import replace

import pytest
import torch
from tiny import machine, spec_of, split_of, stage, strategy

from transferlab.core.evaluation import soup
from transferlab.core.models import factory
from transferlab.core.training.trial import train_trial

PLAN = replace(strategy(tune=stage(epochs=1)), head="shared")


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    return split_of(tmp_path_factory.mktemp("train"), 12)


@pytest.fixture(scope="module")
def trials(train, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trials")
    specs = [spec_of(PLAN, train, trial=number) for number in range(3)]
    return [train_trial(spec, folder, lambda _: None).checkpoint for spec in specs]


def test_trials_with_a_shared_head_begin_alike_and_others_do_not(train):
    for plan, is_same in ((PLAN, True), (replace(PLAN, head="own"), False)):
        first, second = (spec_of(plan, train, trial=number) for number in (0, 1))
        assert first.trial_seed != second.trial_seed
        networks = [factory.fresh(spec.initial, spec.initial_seed, machine()) for spec in (first, second)]
        assert torch.equal(*(network.fc.weight for network in networks)) == is_same


def test_weights_are_averaged_and_statistics_estimated_anew(trials, train):
    made = soup.averaged(trials, train, machine())
    name = "fc.weight"
    expected = torch.stack([trial.tensors[name].double() for trial in trials]).mean(dim=0).float()
    assert torch.equal(made.tensors[name], expected)
    mean_of_statistics = torch.stack([trial.tensors["bn1.running_mean"] for trial in trials]).mean(dim=0)
    assert not torch.allclose(made.tensors["bn1.running_mean"], mean_of_statistics)
    assert all(tensor.isfinite().all() for tensor in made.tensors.values())


def test_equal_trials_make_themselves(trials, train):
    made = soup.averaged([trials[0], trials[0]], train, machine())
    assert made.tensors.keys() == trials[0].tensors.keys()
    assert all(torch.equal(tensor, trials[0].tensors[name]) for name, tensor in made.tensors.items())
    assert soup.averaged(trials[:1], train, machine()) is trials[0]


@pytest.mark.parametrize(
    ("accuracies", "chosen"),
    [
        ({(4, 1): 0.9, (4, 1, 2): 0.9}, (4, 1, 2)),  # no worse is enough
        ({(4, 1): 0.7, (4, 2): 0.85}, (4, 2)),
        ({(4, 1): 0.02, (4, 2): 0.5}, (4,)),  # a soup that fails leaves the best trial
    ],
)
def test_a_trial_stays_while_the_soup_is_no_worse_on_validation(accuracies, chosen):
    made, members = soup._greedy([4, 1, 2], 0.8, tuple, accuracies.__getitem__)
    assert made == members == chosen
