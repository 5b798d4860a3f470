"""A whole run whose trials come in rounds, until strategies are told apart."""

import pytest
import yaml
from tiny_project import PARAMETERS, TinyProject

RULE = {"at_least": 3, "at_most": 6, "stop": "sequential"}


@pytest.fixture(scope="module")
def project(tmp_path_factory, server) -> TinyProject:
    """The tiny project with three strategies, of which one learns nothing."""
    project = TinyProject(tmp_path_factory.mktemp("rounds"), server)
    parameters = yaml.safe_load(PARAMETERS)
    parameters["training"]["trials"] = RULE
    parameters["strategies"] = {name: parameters["strategies"][name] for name in ("scratch", "feature_extraction")}
    (project.root / "conf" / "tiny" / "parameters.yml").write_text(yaml.safe_dump(parameters))
    project.printed = project.run()
    return project


def test_rounds_are_tabulated_with_what_they_decided(project):
    rounds = project.table("07_model_output/{}/rounds.csv")
    assert list(rounds["trials"]) == [5, 6][: len(rounds)]
    assert list(rounds["level"]) == pytest.approx([0.025] * len(rounds))
    assert (rounds["decided"] == (rounds["p"] <= rounds["level"])).all()
    assert "2 strategies x 3 to 6 trials" in project.printed
    assert "WARNING" not in project.printed


def test_every_trial_is_evaluated_compared_and_reported(project):
    comparison = project.table("08_reporting/{}/comparison.csv")
    assert set(comparison["trials"]) == {project.table("07_model_output/{}/rounds.csv")["trials"].iloc[-1]}
    page = project.file("08_reporting/{}/report.html").read_text(encoding="utf-8")
    assert "When trials stopped" in page
    assert "diverged" not in page


def test_the_scores_of_the_looks_are_those_of_the_metrics(project):
    metrics = project.table("08_reporting/{}/metrics.csv")
    accuracy = metrics[metrics["metric"] == "accuracy"].groupby("strategy")["value"].mean()
    last = project.table("07_model_output/{}/rounds.csv").iloc[-1]
    assert last["difference"] == pytest.approx(accuracy[last["strategy"]] - accuracy[last["versus"]])


def test_a_second_run_reuses_all_rounds(project):
    printed = project.run("--to-nodes=train_in_rounds")
    assert "reused" in printed
    assert not [line for line in printed.splitlines() if "trial" in line and "done" in line]


def test_rules_that_can_decide_nothing_are_refused(project):
    done = project.kedro("run", "--env=tiny", "--params=training.trials.at_most=3")
    assert "so few trials cannot tell 2 strategies apart" in done.stdout + done.stderr
    done = project.kedro("run", "--env=tiny", "--params=dataset.split.resplits=3")
    assert "give a number of trials, or leave resplits and folds out" in done.stdout + done.stderr
