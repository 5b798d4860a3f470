"""What a person sees while a strategy trains: bars on a terminal, lines in a pipe."""

import io
import logging

import pytest
from rich.console import Console

from transferlab.console import progress
from transferlab.core.runtime.progress import Progress

ERASED = "\x1b[?25h\r\x1b[1A\x1b[2K"  # the cursor is shown again, and the line above it empty


def epoch(trial: int, number: int, **figures: float) -> Progress:
    return Progress(trial, "tune", number, 2, 4, 4, **figures)


@pytest.fixture
def console(monkeypatch):
    progress.expect(progress.Plan())

    def use(is_terminal: bool, width: int = 120) -> io.StringIO:
        file = io.StringIO()
        monkeypatch.setattr(progress, "console", Console(file=file, force_terminal=is_terminal, width=width))
        return file

    return use


def train() -> None:
    with progress.trials("staged", 2) as report:
        for trial in range(2):
            for number in (1, 2):
                report(Progress(trial, "tune", number, 2, 2, 4))
                report(epoch(trial, number, loss=0.5, accuracy=0.75, held_out_accuracy=0.5))


def test_a_terminal_shows_trial_stage_epoch_loss_and_accuracy(console):
    file = console(True)
    train()
    shown = file.getvalue()
    for words in ("staged, trial 2 of 2, epoch 2 of 2", "s left", "loss 0.500, accuracy 75.0%, validation 50.0%"):
        assert words in shown


def test_a_pipe_shows_nothing_but_a_line_per_trial(console, caplog):
    file = console(False)
    with caplog.at_level(logging.INFO, "transferlab.console.progress"):
        train()
    assert file.getvalue() == ""
    assert caplog.messages == [
        f"staged: trial {number} of 2 done, loss 0.500, accuracy 75.0%, validation 50.0%" for number in (1, 2)
    ]


def fail_while_loading(error: BaseException) -> None:
    with progress.loading():
        raise error


def test_a_terminal_shows_that_modules_load_until_the_work_begins(console):
    file = console(True)
    with progress.loading():
        progress.loaded()
        assert "loading modules" in file.getvalue()
        assert file.getvalue().endswith(ERASED), "nothing of it stays"
        train()  # bars have the terminal to themselves


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("mistyped")])
def test_what_ends_a_run_before_its_work_leaves_the_terminal_as_it_was(console, error):
    file = console(True)
    with pytest.raises(type(error)):
        fail_while_loading(error)
    assert file.getvalue().endswith(ERASED)


def test_a_pipe_shows_nothing_of_loading(console):
    file = console(False)
    with progress.loading():
        progress.loaded()
    assert file.getvalue() == ""


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (Progress(0, "head", 1, 2, 64, 128, doing="frozen layers"), ("frozen, trial 1 of 3, frozen layers 50%",)),
        (Progress(0, "head", 1, 2, 2, 4, together=3), ("frozen, 3 trials", " 25%")),
    ],
)
def test_work_beside_the_steps_and_trials_together_are_named(console, at, words):
    file = console(True)
    with progress.trials("frozen", 3) as report:
        report(at)
    assert all(word in file.getvalue() for word in words)


def test_trials_at_a_time_are_named_and_count_as_far_as_each_is(console):
    file = console(True)
    with progress.trials("tuned", 4) as report:
        for at in (epoch(1, 1), epoch(0, 2), epoch(0, 2, loss=0.5, accuracy=0.75), epoch(2, 1)):
            report(at)
    shown = file.getvalue()
    assert "tuned, trial 2, 3 of 4" in shown
    assert " 50%" in shown  # two halves and a whole


def test_a_trial_that_has_diverged_is_not_under_way(console):
    file = console(True)
    with progress.trials("tuned", 2) as report:
        for at in (epoch(0, 1), Progress(0, "tune", 2, 2, 1, 1), epoch(1, 1)):
            report(at)
    assert "tuned, trial 2 of 2" in file.getvalue()
    assert " 75%" in file.getvalue()


def test_trials_of_an_earlier_run_count(console):
    file = console(True)
    with progress.trials("tuned", 4) as report:
        report(epoch(2, 1))
    assert " 62%" in file.getvalue()


def test_without_a_held_out_split_none_is_shown(console, caplog):
    console(False)
    with caplog.at_level(logging.INFO, "transferlab.console.progress"), progress.trials("scratch", 1) as report:
        report(epoch(0, 2, loss=0.5, accuracy=0.75))
    assert caplog.messages == ["scratch: trial 1 of 1 done, loss 0.500, accuracy 75.0%"]


def test_a_strategy_without_stages_shows_a_bar_and_no_line(console, caplog):
    file = console(True)
    with caplog.at_level(logging.INFO, "transferlab.console.progress"), progress.trials("untrained", 3):
        pass
    assert "untrained" in file.getvalue()
    assert not caplog.messages


def test_strategies_without_stages_alone_take_no_time(console):
    console(True)
    progress.expect(progress.Plan(lambda: {"untrained": 0.0}))
    with progress.trials("untrained", 3):
        pass


def test_one_bar_is_for_all_trainings_of_a_run_and_fits_80_columns(console):
    file = console(True, width=80)
    progress.expect(progress.Plan(lambda: {"feature_extraction": 10.0, "scratch": 10.0, "staged": 20.0}))
    progress.reused("feature_extraction")
    with progress.trials("scratch", 2) as report:
        report(epoch(1, 2, loss=0.5, accuracy=0.75, held_out_accuracy=0.5))
    with progress.trials("staged", 2, "test") as report:
        report(Progress(0, "tune", 1, 100, 1, 4))
        report(epoch(1, 1))
    shown = file.getvalue()
    assert " 50%" in shown, "the first and the second are half of the seconds"
    assert " 63%" in shown
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown


def test_a_strategy_that_is_over_may_still_be_told_of(console):
    # Trials of all strategies are under way on a cluster, and nobody estimates how long they take there.
    console(True)
    with progress.trials("staged", 1) as late:
        late(epoch(0, 1))
    with progress.trials("tuned", 1) as report:
        report(epoch(0, 1))
        late(epoch(0, 2))
        report(epoch(0, 2))


def test_the_time_left_follows_the_pace():
    plan = progress.Plan(lambda: {"a": 10.0, "b": 30.0})
    plan.begin("a")
    assert plan.seconds_left is None
    plan.advance("a", 0.5, 15.0)
    assert plan.share == pytest.approx(5 / 40)
    assert plan.seconds_left == pytest.approx(35 * 3), "three times slower than estimated"


def test_what_a_killed_run_trained_does_not_count_as_fast():
    plan = progress.Plan(lambda: {"a": 10.0})
    plan.begin("a")
    plan.advance("a", 0.8, 0.0)
    plan.advance("a", 0.9, 1.0)
    assert plan.seconds_left == pytest.approx(1.0)


def test_counting_shows_how_far_it_is(console):
    file = console(True)
    with progress.counting("decoding images") as report:
        report(3, 10)
    assert "decoding images" in file.getvalue()
    assert "3 of 10" in file.getvalue()
    assert "30%" in file.getvalue()
