import pytest

from transferlab.reporting.wording import (
    MINUS,
    NOTHING,
    about,
    amount,
    compact,
    count,
    difference,
    duration,
    enumerate_words,
    interval,
    number,
    signed_interval,
    times_as_long,
)


def test_accuracies_are_percentages_with_one_decimal():
    assert number(0.9731, "accuracy") == "97.3%"
    assert interval(0.9675, 0.978, "accuracy") == "[96.8, 97.8]"
    assert number(0.12345, "log_loss") == "0.123"


def test_an_interval_ends_where_the_scale_of_its_metric_does():
    assert interval(-0.02, 1.031, "accuracy") == "[0.0, 100.0]"
    assert signed_interval(-1.003, 1.2, "accuracy") == f"[{MINUS}100.0, +100.0]"
    assert signed_interval(-1.24, 0.655, "log_loss") == f"[{MINUS}1.240, +0.655]"
    assert interval(0.91, 1.02, "auroc") == "[0.910, 1.000]"
    assert interval(-0.1, 1.7, "log_loss") == "[0.000, 1.700]"


def test_a_missing_value_or_interval_is_not_written_as_nan():
    nan = float("nan")
    assert number(nan, "accuracy") == NOTHING
    assert interval(nan, nan, "accuracy") == ""
    assert signed_interval(nan, 0.1, "accuracy") == ""
    assert signed_interval(-13.7, 14.7, "accuracy") == f"[{MINUS}100.0, +100.0]", "of two images"
    assert signed_interval(-1.5, 1.2, "log_loss") == f"[{MINUS}1.500, +1.200]"
    assert duration(nan) == NOTHING


def test_differences_keep_their_sign_even_when_they_round_to_zero():
    assert difference(0.012, "accuracy") == "+1.2 points"
    assert signed_interval(-0.0001, 0.0001, "accuracy") == f"[{MINUS}0.0, +0.0]"
    assert [difference(value, "accuracy") for value in (-0.0004, -0.0, 0.0004)] == ["0.0 points"] * 3
    assert difference(-1e-9, "auroc") == "0.000"
    assert difference(-0.0312, "log_loss") == f"{MINUS}0.031"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.034, "0.034 s"), (4.21, "4.2 s"), (9.7, "10 s"), (59.6, "1 min"), (125, "2 min 05 s"),
     (3599.9, "1 h"), (4320, "1 h 12 min")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_words():
    assert enumerate_words(["a"]) == "a"
    assert enumerate_words(["a", "b", "c"]) == "a, b and c"
    assert count(1, "class", "classes") == "1 class"
    assert count(3000, "image") == "3,000 images"
    assert [times_as_long(ratio) for ratio in (1.0, 1.04, 2.44, 31.2)] == [
        "about as long as",
        "about as long as",
        "2.4 times as long as",
        "31 times as long as",
    ]


@pytest.mark.parametrize(
    ("number", "text"),
    [(5130, "5,130"), (999_999, "999,999"), (1e6, "1 M"), (11_177_538, "11.2 M"), (999_400_000, "999 M"),
     (999_700_000, "1,000 M"), (1_136_000_000, "1,140 M")],
)  # fmt: skip
def test_large_counts_have_three_digits(number, text):
    assert compact(number) == text


def test_amounts_have_no_sign():
    assert amount(-0.0142, "accuracy") == "1.4 points"
    assert amount(0.0142, "balanced_accuracy") == "1.4 points"
    assert amount(-0.031, "log_loss").strip(MINUS) == "0.031"


@pytest.mark.parametrize(
    ("number", "text"), [(2.0, "2"), (12, "12"), (301, "310"), (1234, "1,300"), (99_500, "100,000")]
)
def test_estimated_counts_are_rounded_up_to_two_digits(number, text):
    assert about(number) == text
