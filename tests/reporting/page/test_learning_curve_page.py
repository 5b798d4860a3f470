"""The page and the sentences of the learning curves claim what their intervals allow."""

import math
import re

import curves_example
import pytest

from transferlab.reporting.learning_curve import headline, sentence, sentences
from transferlab.reporting.page.learning_curve_page import render


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (
            (0.012, 0.003, 0.020),
            "doubling the labels, to 3,780 images, should bring +1.2 points [+0.3, +2.0], to 86.2%",
        ),
        ((0.003, 0.0, 0.008), "doubling the labels, to 3,780 images, should bring little: +0.3 points [+0.0, +0.8]"),
        ((0.012, 0.0, 0.030), "these images cannot tell whether more labels help; doubling them may bring +1.2 points"),
    ],
)
def test_what_doubling_brings_is_said_as_surely_as_it_is_known(gain, said):
    assert f"Fine tuning: {said}" in sentence(curves_example.flat(*gain))


def test_refusals_and_crossings_are_said():
    tables = curves_example.tables()
    said = sentences(tables.fits, tables.crossings)
    assert "Scratch: no curve can be fitted, because there are only 3 sizes" in said[2]
    assert re.search(
        r"Fine tuning (should overtake|overtakes) feature extraction at about [\d,]+ training images", said[3]
    )
    assert headline(tables.fits) in said
    assert headline(curves_example.refused().fits) == "Nobody can say whether more labels would help."


def test_trainings_that_diverged_are_counted():
    tables = curves_example.tables()
    fits = tables.fits.assign(trainings=15, diverged=[0, 3, 2])  # the last one's curve is refused, which says why
    (said,) = (one for one in sentences(fits, tables.crossings) if "diverged" in one)
    assert said.startswith("Fine tuning: 3 of 15 trainings diverged; a size at which all did is left out")


def test_a_crossing_that_hardly_any_sample_has_is_said_to_be_unsure():
    tables = curves_example.tables()
    assert "images (or never, 90%)" in sentences(tables.fits, tables.crossings.assign(low=math.inf, high=math.inf))[3]


def test_the_page_is_whole_and_self_contained():
    tables = curves_example.tables()
    facts = {"experiment": "cells", "title": "<Solar> cells", "run_id": "2026-01-01"}
    page = render(facts, tables.points, tables.fits, tables.crossings, b"\x89PNG")
    assert "&lt;Solar&gt; cells: would more labels help?" in page
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    text = re.sub(r"\s+", " ", re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))
    assert not re.search(r"\bnan\b", text)
    for row in ("119", "1,890", "With 3,780", "Doubling brings"):
        assert row in text
    assert text.count(headline(tables.fits)) == 1
