"""The report says where the uncertainty comes from, and what each look at trials in rounds decided."""

from dataclasses import replace

import numpy as np
import pandas as pd
from page_tables import tables_of

from transferlab.core.evaluation.sequential import Race, SequentialTrials
from transferlab.reporting.figures.uncertainty import sources_of_uncertainty
from transferlab.reporting.page.page import render
from transferlab.reporting.page.uncertainty import rounds, uncertainty


def test_each_pair_has_the_parts_of_its_error_and_what_more_would_take(example):
    table = uncertainty(example.differences, example.comparison)
    assert table.columns[:3] == ("Seeds", "Training images", "Test images")
    assert len(table.rows) == 6
    for _, cells in table.rows:
        assert "points" in cells[0].main
        assert (cells[1].main, cells[1].note) == ("not varied", "one split")
        assert "points" in cells[2].main
    assert uncertainty(example.differences.drop(columns="seeds_se"), example.comparison) is None


def test_with_re_splits_the_table_says_what_is_counted_where(example):
    comparison = example.comparison.assign(splitting="re-splits", splits=3)
    differences = example.differences.assign(seeds_se=np.nan, sample_se=0.01, images_se=np.nan, images_needed=np.nan)
    table = uncertainty(differences, comparison)
    assert table.columns[1] == "Training and test images"
    assert {(cells[0].note, cells[1].main, cells[2].note) for _, cells in table.rows} == {
        ("with images", "1.0 points", "with training images")
    }
    (ax,) = sources_of_uncertainty(differences, comparison).axes
    assert [each.get_label() for each in ax.containers] == ["training and test images"]


def test_the_shares_of_the_figure_add_up(example):
    (ax,) = sources_of_uncertainty(example.differences, example.comparison).axes
    assert [each.get_label() for each in ax.containers] == ["seeds", "test images"]
    widths = np.array([[bar.get_width() for bar in each] for each in ax.containers])
    np.testing.assert_allclose(widths.sum(axis=0), 100)


def race() -> pd.DataFrame:
    rng, running = np.random.default_rng(0), Race(["scratch", "fine_tuning"], SequentialTrials())
    scores = {"scratch": rng.normal(0.6, 0.01, 6), "fine_tuning": rng.normal(0.9, 0.01, 6)}
    running.look({name: values[:3] for name, values in scores.items()})
    running.look(scores)
    return pd.DataFrame(running.looks)


def test_the_page_lists_what_each_look_decided(example):
    table = rounds(race(), example.comparison)
    assert [[cells[0].main, cells[3].main, cells[4].main] for _, cells in table.rows] == [
        ["3", "0.017", "goes on"],
        ["6", "0.017", "told apart"],
    ]
    page = render(example.facts, replace(tables_of(example), rounds=race()), {})
    assert "When trials stopped" in page
    assert "When trials stopped" not in render(example.facts, tables_of(example), {})
