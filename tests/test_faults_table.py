"""The table of faults is what the command found, and says so when something bad was found."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.faults import downloads, folders
from benchmarks.faults.page import merged, page, verdict
from benchmarks.faults.row import CRASHED, Row, counted, crashed

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def results():
    return json.loads((PROJECT / "benchmarks" / "results" / "faults.json").read_text(encoding="utf-8"))


def test_the_page_is_made_of_the_results_alone(results):
    assert (PROJECT / "docs" / "faults.md").read_text(encoding="utf-8") == page(results)


def test_nothing_crashed_was_written_outside_or_run_and_no_good_image_lost(results):
    rows = [Row(**row) for rows in results["faults"].values() for row in rows]
    assert sum(row.tried for row in rows) > 3000
    told = verdict(rows).splitlines()
    assert [line for line in told if not line.endswith(": never")] == [told[-1]]
    assert (
        told[-1]
        == "- a change went unnoticed: JPEG with a flipped bit; somebody's weights file (.pth) with a flipped bit"
    )


def test_what_is_bad_is_named_at_the_top():
    rows = [
        Row("pulled plug", 1, crashed(KeyError("x"))[0], "the run"),
        Row("evil archive", 1, "unpacked", "WRITTEN OUTSIDE: ['/evil']"),
        Row("evil weights", 2, "read", "ITS CODE RAN"),
        Row("flip", 3, "read", "1 UNNOTICED: it is not what it was; 2 nothing"),
        Row("mess", 1, "accepted", "3 good images"),
    ]
    lines = verdict(rows).splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == [
        "pulled plug",
        "evil archive",
        "evil weights",
        "mess",
        "flip",
    ]


def test_tries_are_counted_by_what_was_said():
    assert counted(["a 1", "a 2"]) == "a N"
    assert counted(["a 1", "a 1"]) == "a 1"
    assert counted(["b", "a 1", "a 2"]) == "2 a N; 1 b"
    assert counted(list("aabbccde")) == "2 a; 2 b; 2 c; 2 others"
    one, other, third = Row("x", 1, "said", "nothing"), Row("y", 2, "said", "nothing"), Row("z", 1, "else", "nothing")
    assert merged([one, other, third]) == [Row("x; y", 3, "said", "nothing"), third]


def test_the_command_still_does_what_it_says():
    rng = np.random.default_rng(0)
    rows = [*downloads.rows(rng), *folders.duplicates_in_train(rng)]
    assert not [row for row in rows if CRASHED in row.outcome]
    assert {row.lost for row in rows} == {"nothing", "the copies alone"}
    assert [row.outcome for row in rows if "exclude" in row.fault] == [
        "5 reported, 5 not trained on; all 20 test images stay"
    ] * 2
