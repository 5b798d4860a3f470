"""The list of mistakes is counted by hand."""

import pandas as pd

from transferlab.reporting.page.mistakes import mistakes


def predictions(strategy, rows):
    table = pd.DataFrame(rows, columns=["trial", "path", "truth", "prediction", "p_a", "p_b", "p_c"])
    return table.assign(strategy=strategy)


def test_images_are_ordered_by_wrong_trials_then_confidence():
    one = predictions("one", [
        (0, "1.jpg", "a", "b", 0.1, 0.8, 0.1),
        (0, "2.jpg", "a", "b", 0.0, 0.9, 0.1),
        (0, "3.jpg", "a", "a", 0.9, 0.1, 0.0),
        (1, "1.jpg", "a", "c", 0.2, 0.2, 0.6),
        (1, "2.jpg", "a", "a", 0.7, 0.2, 0.1),
        (1, "3.jpg", "a", "a", 0.9, 0.1, 0.0),
    ])  # fmt: skip
    two = predictions("two", [
        (0, "1.jpg", "a", "c", 0.0, 0.0, 1.0),
        (0, "2.jpg", "a", "a", 0.8, 0.1, 0.1),
        (0, "3.jpg", "a", "b", 0.0, 1.0, 0.0),
    ])  # fmt: skip
    table = mistakes([one, two])
    assert list(table["path"]) == ["1.jpg", "3.jpg", "2.jpg"]
    first = table.iloc[0]
    assert (first["prediction"], first["wrong"], first["trials"]) == ("c", 3, 3)
    assert (first["wrong_one"], first["wrong_two"]) == (2, 1)
    assert (first["trials_one"], first["trials_two"]) == (2, 1)
    assert first["confidence"] == (0.8 + 0.6 + 1.0) / 3


def test_no_mistake_is_an_empty_table_with_columns():
    right = predictions("one", [(0, "1.jpg", "a", "a", 0.9, 0.1, 0.0)])
    table = mistakes([right])
    assert table.empty
    assert {"path", "wrong", "wrong_one"} <= set(table.columns)
