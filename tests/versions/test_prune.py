"""Versions on a real disk, in a real catalog; what the commands print is in tests/endtoend."""

import math
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from subprocess import PIPE

import pandas as pd
import pytest
import recorded_runs
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_runs import STRATEGIES, Experiment, day

from transferlab.console.errors import UserError
from transferlab.core.evaluation.intervals import over_trials
from transferlab.datasets.runs import RunsDataset
from transferlab.reporting.wording import NOTHING
from transferlab.versions.prune import Rules, staying


@pytest.fixture
def experiment(tmp_path):
    return Experiment(tmp_path)


def test_a_version_says_who_made_it_what_it_reached_and_how_large_it_is(experiment):
    experiment.whole(day(1))
    experiment.train("a", day(2))
    experiment.evaluate("b", day(3), (0.9, 1.0))
    low, high = over_trials(pd.Series([0.5, 0.7]).to_numpy())
    (evaluated, b_again, trained, a_stale, *first) = experiment.versions().rows()
    assert evaluated[:2] == (day(3), "transfer")
    assert evaluated[3] == "complete"
    assert b_again[:2] == ("  b", "95.0% [31.5, 100.0]")
    assert b_again[3] == "evaluated"
    assert trained == (day(2), "transfer", 1, "stale")
    assert a_stale == ("  a", "not measured", "", "stale")
    size = sum(file.stat().st_size for file in experiment.root.rglob("*") if day(1) in str(file) and file.is_file())
    assert first == [
        (day(1), "data, transfer, report", size, "complete"),
        ("  a", f"60.0% [{max(low, 0) * 100:.1f}, {min(high, 1) * 100:.1f}]", "", "trained"),
        ("  b", "95.0% [31.5, 100.0]", "", "trained"),  # by its newest metrics
    ]


def test_an_evaluation_that_follows_makes_a_stale_version_complete(experiment):
    experiment.train("a", day(1))
    experiment.evaluate("a", day(2))
    assert [experiment.versions().state(day(number)) for number in (1, 2)] == ["complete", "complete"]


def test_unfinished_versions_and_those_under_way_are_told_apart(experiment):
    runs = RunsDataset(filepath=str(experiment.root / "runs"))
    for number in (1, 2, 3):
        experiment.whole(day(number))
    runs.begin(day(1)).end(is_whole=False)
    under_way = runs.begin(day(3))
    (experiment.filepath("report") / day(4)).mkdir()
    assert [experiment.versions().state(day(number)) for number in (1, 2, 3, 4)] == [
        "unfinished",
        "complete",
        "under way",
        "unfinished",
    ]
    under_way.end(is_whole=True)


def test_the_newest_stay_and_unfinished_ones_do_not_count(experiment):
    for number in range(1, 7):
        experiment.whole(day(number))
    RunsDataset(filepath=str(experiment.root / "runs")).begin(day(5)).end(is_whole=False)
    assert experiment.prune(newest=3) == [1, 2, 5]
    assert experiment.versions().not_ended == {}, "nothing is left of it"


def test_the_best_stay(experiment):
    for number, accuracy in enumerate((0.5, 0.9, 0.7, 0.8, 0.6), 1):
        experiment.whole(day(number), (accuracy, accuracy))
    assert experiment.prune(best=2) == [1, 3]


@pytest.mark.parametrize(("metric", "goes"), [("accuracy", [1, 2]), ("log_loss", [2]), ("macro_f1", [3])])
def test_the_best_are_so_by_the_metric_that_decides_now(experiment, metric, goes):
    for number, log_loss, macro_f1 in ((1, 0.3, 0.5), (2, 0.9, 0.7), (3, 0.6, 0.4), (4, 1.0, 0.3)):
        accuracy = number / 10
        experiment.whole(day(number), (accuracy, accuracy), log_loss=log_loss, macro_f1=macro_f1)
    experiment.metric = metric
    assert experiment.prune(best=2) == goes


def test_versions_without_the_metric_that_decides_come_after_those_that_have_it(experiment):
    experiment.whole(day(1), (0.9, 0.9))  # has none
    experiment.whole(day(2), (0.8, 0.8), auroc=math.nan)  # cannot have one: a class had no test image
    experiment.whole(day(3), (0.1, 0.1), auroc=0.6)
    for strategy in STRATEGIES:
        experiment.train(strategy, day(4))  # was not measured, and is the newest
    experiment.metric = "auroc"
    rows = experiment.versions().rows()
    assert [row[1:] for row in rows if row[0] == "  a"] == [
        ("not measured", "", "stale"),
        ("0.600", "", "trained"),
        (NOTHING, "", "trained"),
        (NOTHING, "", "trained"),
    ]
    assert experiment.prune(best=2) == [1]
    assert experiment.prune(best=1) == [2]


def test_the_metrics_that_make_one_the_best_stay_with_it(experiment):
    experiment.whole(day(1), (0.1, 0.1))
    experiment.evaluate("a", day(2), (0.9, 0.9))
    experiment.whole(day(3), (0.5, 0.5))
    experiment.whole(day(4), (0.5, 0.5))
    assert experiment.prune(best=1) == [3]


def test_the_newest_metrics_of_checkpoints_that_stay_do_too_or_the_best_would_be_another_the_next_time(experiment):
    experiment.whole(day(1), (0.5, 0.5))
    experiment.whole(day(2), (0.9, 0.9))
    experiment.evaluate("a", day(3), (0.1, 0.1))  # now day 1 has the best of a, and day 2 that of b
    experiment.whole(day(4), (0.2, 0.2))
    assert [experiment.prune(best=1), experiment.prune(best=1)] == [[], []]


def test_those_since_a_time_stay_and_rules_add_up(experiment):
    for number in range(1, 7):
        experiment.whole(day(number), (0.9, 0.9) if number == 2 else (0.1, 0.1))
    assert experiment.prune(since=datetime(2026, 1, 4), best=1) == [1, 3]


def test_a_version_stays_whole_for_the_sake_of_what_is_newest_in_it(experiment):
    experiment.whole(day(1))
    for number in (2, 3, 4):
        experiment.evaluate("a", day(number))
    before = {file for file in experiment.root.rglob("*") if day(1) in str(file)}
    assert experiment.prune(newest=1) == [2, 3]
    assert before == {file for file in experiment.root.rglob("*") if day(1) in str(file)}


def test_what_the_latest_report_was_measured_on_stays(experiment):
    experiment.whole(day(1))
    experiment.whole(day(2))
    experiment.report(day(3))
    for strategy in STRATEGIES:
        experiment.train(strategy, day(4))
    experiment.write("index", day(4))
    for strategy in STRATEGIES:
        experiment.evaluate(strategy, day(5))
    versions = experiment.versions()
    assert staying(versions, Rules(newest=1))[day(2)] == f"metrics of {day(3)} refer to it"
    assert experiment.prune(newest=1) == [1]


def test_what_the_other_metrics_of_a_version_that_stays_were_measured_on_stays_too(experiment):
    experiment.whole(day(1))
    experiment.train("b", day(2))
    for strategy in STRATEGIES:
        experiment.evaluate(strategy, day(3))
    experiment.train("b", day(4))
    experiment.evaluate("b", day(5))
    experiment.report(day(6))  # of a, measured on day 3, and of b, measured on day 5
    experiment.whole(day(7))
    assert experiment.prune(newest=2) == [], "day 3 holds metrics of b too, of the checkpoints of day 2"


def test_what_a_run_under_way_saves_or_may_have_read_stays(experiment):
    for number in (1, 2, 3, 4, 5):
        experiment.whole(day(number))
    under_way = RunsDataset(filepath=str(experiment.root / "runs")).begin(day(3))
    assert experiment.prune(newest=1) == [1]
    under_way.end(is_whole=True)
    assert experiment.prune(newest=1) == [2, 3, 4]


HEADER = "split,run_id,checkpoint_version,metric,value\n"


@pytest.mark.parametrize("damage", ["", "strategy\n", HEADER, f"{HEADER}test,1,1,ece,x\n"])
def test_metrics_that_cannot_be_read_stop_the_pruning(experiment, damage):
    experiment.whole(day(1))
    experiment.whole(day(2))
    file = experiment.filepath("a.metrics") / day(1) / "metrics.csv"
    file.write_text(damage)
    with pytest.raises(UserError, match=re.escape(str(file))):
        staying(experiment.versions(), Rules(newest=1))


EVENTS = st.sampled_from(["whole", "data", "train a", "train b", "evaluate a", "evaluate b", "report"])
RULES = st.builds(
    Rules,
    newest=st.none() | st.integers(1, 4),
    best=st.none() | st.integers(1, 3),
    since=st.none() | st.integers(1, 9).map(lambda number: datetime(2026, 1, number)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS, max_size=9), RULES, st.randoms(use_true_random=False))
def test_whatever_ran_and_whatever_the_rules_nothing_that_is_needed_goes(tmp_path_factory, events, rules, draws):
    experiment = Experiment(tmp_path_factory.mktemp("experiment"))
    for number, event in enumerate(events, 1):
        experiment.happen(event, day(number), draws.random())
    before, latest = experiment.versions().folders, dict(experiment.latest)
    gone = {day(number) for number in experiment.prune(**vars(rules))}
    versions = experiment.versions()
    assert {version: datasets.keys() for version, datasets in before.items() if version not in gone} == {
        version: datasets.keys() for version, datasets in versions.folders.items()
    }, "whole or not at all"
    assert all(versions.has(version, name) for name, version in latest.items()), "the newest of every dataset"
    assert not gone & set().union(*versions.references.values()), "what metrics refer to"
    assert not gone & set(list(before)[: rules.newest or 0])
    assert experiment.prune(**vars(rules)) == [], "the same rules again remove nothing"


PRUNES = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from recorded_runs import Experiment
from transferlab.versions.prune import Rules, remove_versions, staying
versions = Experiment(Path(sys.argv[1])).versions()
print("ready", flush=True)
sys.stdin.readline()
with versions.alone():
    stay = staying(versions, Rules(newest=1))
    remove_versions(versions, [version for version in versions.folders if version not in stay])
"""


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_several_prunes_at_once_wait_for_one_another(tmp_path):
    experiment = Experiment(tmp_path)
    for number in range(1, 25):
        experiment.train("a", day(number))
    command = [sys.executable, "-c", PRUNES, str(tmp_path), str(Path(recorded_runs.__file__).parent)]
    prunes = [subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) for _ in range(3)]
    for prune in prunes:
        assert "ready\n" in iter(prune.stdout.readline, "")
    for prune in prunes:
        prune.stdin.write("go\n")
        prune.stdin.flush()
    assert [prune.communicate()[1] for prune in prunes] == [""] * 3
    assert list(experiment.versions().folders) == [day(24)]
