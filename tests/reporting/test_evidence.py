import pandas as pd
import pytest

from transferlab.reporting.evidence import explained, over, unstable


def row(**changes):
    return pd.Series({"trials": 5, "test_images": 60, "groups": 0, "splits": 1, "splitting": "one split"} | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "5 trials and test images"),
        ({"groups": 12}, "5 trials and 12 groups of test images"),
        ({"splits": 5, "splitting": "re-splits"}, "5 re-splits"),
        ({"splits": 5, "splitting": "folds", "groups": 30}, "5 folds (test images in 30 groups)"),
        ({"splits": 5, "splitting": "re-splits of the training images"}, "5 trials and test images"),
    ],
)
def test_an_interval_says_what_it_is_over(changes, said):
    assert over(row(**changes)) == said


def test_one_split_of_single_images_needs_no_explanation():
    assert explained(row()) == []


def test_groups_and_splits_are_explained_with_their_method():
    re_splits, folds, fixed = (
        " ".join(explained(row(splits=5, splitting=splitting)))
        for splitting in ("re-splits", "folds", "re-splits of the training images")
    )
    assert "5 splits, with 60 different test images in all" in re_splits
    assert "Nadeau and Bengio 2003" in re_splits
    assert "no unbiased estimate" in folds
    assert "only part of what wholly different training images would change" in fixed
    few, many = (explained(row(groups=groups))[0] for groups in (10, 30))
    assert "somewhat too narrow" in few
    assert "too narrow" not in many


def test_a_strategy_whose_trials_differ_a_lot_is_called_unstable():
    rows = pd.DataFrame({"metric": "accuracy", "sd": [0.02, 0.09, float("nan")]}, index=["calm", "wild", "single"])
    (said,) = unstable(rows)
    assert said.startswith("Wild is unstable: its trials differ by 9.0 points")
    assert unstable(rows.assign(metric="log_loss")) == []
