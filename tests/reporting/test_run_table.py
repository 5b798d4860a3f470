import io

from rich.console import Console

from transferlab.reporting.run_table import comparison_table
from transferlab.reporting.verdict import verdict


def printed(example, width: int = 120) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(comparison_table(example.comparison, example.differences, example.cost))
    return console.file.getvalue()


def test_the_table_ranks_by_accuracy_and_ends_with_the_verdict(example):
    text = printed(example)
    answer = verdict(example.comparison, example.differences, example.cost)
    first = next(line for line in text.splitlines() if "%" in line)
    assert answer.leader.replace("_", " ").capitalize() in first
    assert "leads" in first
    assert " ".join(answer.headline.split()) in " ".join(text.split())
    assert "on 120 images, 3 trials each" in text
    assert "selection: best validation accuracy" in " ".join(text.split())


def test_brackets_of_one_trial_are_over_images(make_example):
    example = make_example(trials=1)
    row = example.comparison.query("metric == 'accuracy' and strategy == 'scratch'").iloc[0]
    assert f"[{100 * row['low_images']:.1f}, {100 * row['high_images']:.1f}]" in printed(example)


def test_one_trial_is_not_ranked(make_example):
    text = printed(make_example(trials=1))
    assert text.count("not ranked") == 4
    assert "nan" not in text


def test_the_time_of_a_trial_includes_its_features(example):
    text = printed(example)
    row = next(line for line in text.splitlines() if "Feature extraction" in line)
    assert "12 s" in row, "4 s of training and 8 s of features"


def test_brackets_are_numbers_not_markup(example):
    row = example.comparison.query("metric == 'accuracy' and strategy == 'scratch'").iloc[0]
    text = printed(example)
    assert f"[{100 * row['low']:.1f}, {100 * row['high']:.1f}]" in text
    assert f"[{100 * row['low_images']:.1f}, {100 * row['high_images']:.1f}]" in text


def test_at_80_columns_the_columns_that_matter_are_whole(example):
    console = Console(width=80, file=io.StringIO())
    console.print(comparison_table(example.comparison, example.differences, example.cost, 80))
    text = console.file.getvalue()
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    row = next(line for line in text.splitlines() if "Feature extraction" in line)
    assert "12 s" in row
    assert "Trials alone" not in text
