"""Figures are drawn from real tables and their texts and data are read back."""

import io
import re
import warnings

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from transferlab.reporting.figures import cost, curves, evaluation, paired_differences, samples, steps, style
from transferlab.reporting.page import figure_index


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def pixels(figure: Figure) -> np.ndarray:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("RGB"))


def figures_from_tables(example) -> dict[str, Figure]:
    """Every figure but those of photographs, by the name that the page knows it by."""
    facts, names = example.facts, list(example.comparison["strategy"].unique())
    lines = facts["published"], facts["reference_lines"]
    return {
        "accuracy_against_cost": cost.accuracy_against_cost(example.comparison, example.cost, *lines),
        "differences": paired_differences.that_decide(example.differences, example.comparison),
        "differences_beside": paired_differences.beside(example.differences, example.comparison),
        "all_errors": curves.all_errors(example.history),
        "learning_rates": steps.learning_rates(example.steps),
        "step_losses": steps.step_losses(example.steps),
        **{f"errors.{name}": curves.strategy_errors(example.history, name) for name in names},
        **{
            f"confusion.{name}": evaluation.confusion_matrix(example.confusion, name, facts["classes"])
            for name in names
        },
        **{f"reliability.{name}": evaluation.reliability(example.predictions, name) for name in names},
    }


def test_every_figure_is_1200_pixels_wide_not_blank_and_has_all_its_glyphs(example):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing glyph or a failed layout is a warning
        for name, figure in figures_from_tables(example).items():
            image_HWC = pixels(figure)
            assert image_HWC.shape[1] == 1200, name
            assert image_HWC.std() > 5, name
            figure_index.kind_of(name)


def test_figures_leave_the_global_settings_alone(example):
    before = dict(mpl.rcParams)
    steps.learning_rates(example.steps)
    assert dict(mpl.rcParams) == before


def test_the_curve_is_the_mean_over_trials_and_the_band_holds_them(example):
    figure = curves.strategy_errors(example.history, "staged_unfreezing")
    ax = figure.axes[0]
    held_out = ax.get_lines()[0]
    own = example.history.query("strategy == 'staged_unfreezing' and split == 'validation'")
    expected = 100 * (1 - own.groupby("epoch")["accuracy"].mean())
    np.testing.assert_allclose(held_out.get_ydata(), expected)
    assert "n = 3 trials" in texts(figure)
    assert "stage: head" in texts(figure)
    assert any(np.allclose(line.get_xdata(), 3) for line in ax.get_lines()), "the stage boundary is after epoch 3"


@pytest.mark.parametrize(
    ("augmented", "told"),
    [
        ((), "train (while training)"),
        (("all",), "train (while training, on augmented images in stage all)"),
        (("head", "all"), "train (while training, on augmented images)"),
    ],
)
def test_the_legend_says_in_which_stages_training_images_are_augmented(example, augmented, told):
    figure = curves.strategy_errors(example.history, "staged_unfreezing", augmented)
    assert told in texts(figure).splitlines()


def test_without_any_held_out_curve_the_train_error_is_drawn(example):
    train = example.history[example.history["split"] == "train"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure, own = curves.all_errors(train), curves.strategy_errors(train, "scratch")
    assert "Train error of every strategy per epoch\n" in texts(figure) + "\n"
    assert "There is no held-out curve" in texts(figure).replace("\n", " ")
    assert len(figure.axes[0].get_lines()) == 4
    assert "held out" not in texts(own)


def test_without_validation_the_held_out_curve_is_test_and_says_so(example):
    history = example.history.replace({"split": {"validation": "test"}})
    assert "test (held out; nothing is decided by it)" in texts(curves.strategy_errors(history, "scratch"))


def test_an_error_of_zero_can_be_drawn(example):
    history = example.history.assign(accuracy=example.history["accuracy"].where(example.history["epoch"] < 5, 1.0))
    assert curves.all_errors(history).axes[0].get_ylim()[0] == 0


def test_a_rate_that_falls_to_zero_does_not_stretch_the_logarithmic_axis(example):
    ax = steps.learning_rates(example.steps).axes[0]
    assert ax.get_yscale() == "log"
    assert ax.get_ylim()[0] > 1e-7


@pytest.mark.parametrize("k", [2, 25, 26, 100])
def test_a_confusion_matrix_of_any_size_is_of_shares(make_example, k):
    table = make_example([f"class {i}" for i in range(k)], {"fine_tuning": 0.9}, trials=2, per_class=2)
    figure = evaluation.confusion_matrix(table.confusion, "fine_tuning", table.facts["classes"])
    assert f"n = {2 * k} test images, mean over 2 trials" in texts(figure).replace("\n", " ")
    share_KK = figure.axes[0].get_images()[0].get_array()
    assert share_KK.shape == (k, k)
    np.testing.assert_allclose(share_KK.sum(axis=1), 1)


def test_a_small_confusion_matrix_fills_the_figure_and_says_how_trials_differ():
    counts = [
        (0, "a", "a", 9),
        (0, "a", "b", 1),
        (1, "a", "a", 7),
        (1, "a", "b", 3),
        (0, "b", "b", 5),
        (1, "b", "b", 5),
    ]
    table = pd.DataFrame(counts, columns=["trial", "truth", "prediction", "count"]).assign(strategy="s")
    figure = evaluation.confusion_matrix(table, "s")
    assert "80.0%\n[70.0, 90.0]" in texts(figure)
    assert "20.0%\n[10.0, 30.0]" in texts(figure)
    figure.draw_without_rendering()
    assert figure.axes[0].get_position().width > 0.8


BEES = [
    "Bombus terrestris", "Bombus lapidarius", "Bombus pascuorum", "Bombus hypnorum", "Andrena fulva (tawny mining bee)",
    "Andrena haemorrhoa (early mining bee)", "Osmia bicornis", "Osmia cornuta", "Halictus rubicundus",
    "Anthophora plumipes (hairy-footed flower bee)", "Megachile centuncularis (patchwork leafcutter bee)",
    "Megachile willughbiella (Willughby's leafcutter bee)",
]  # fmt: skip


def test_names_of_twelve_bees_never_collide(make_example):
    bees = make_example(BEES, {"fine_tuning": 0.9}, per_class=4)
    ax = evaluation.confusion_matrix(bees.confusion, "fine_tuning", BEES).axes[0]
    renderer = FigureCanvasAgg(ax.figure).get_renderer()
    ax.figure.draw(renderer)
    for axis in (ax.xaxis, ax.yaxis):
        shown = [tick.label1 for tick in axis.get_major_ticks()]
        assert len({text.get_text() for text in shown}) == 12
    across = sorted(text.get_window_extent(renderer).y0 for text in ax.get_yticklabels())
    high = max(text.get_window_extent(renderer).height for text in ax.get_yticklabels())
    assert np.diff(across).min() >= 0.9 * high, "rows of names do not overlap"
    places = sorted(text.get_window_extent(renderer).x1 for text in ax.get_xticklabels())
    line = 8.5 / 72 * ax.figure.dpi
    assert np.diff(places).min() * np.sin(np.radians(40)) >= line, "turned names do not overlap"


def test_a_confusion_matrix_refuses_a_class_that_the_list_lacks(example):
    with pytest.raises(ValueError, match="大熊猫"):
        evaluation.confusion_matrix(example.confusion, "scratch", ["Australian terrier"])


def test_published_and_reference_figures_are_lines_with_their_values(example):
    published, lines = example.facts["published"], example.facts["reference_lines"]
    figure = cost.accuracy_against_cost(example.comparison, example.cost, published, lines)
    shown = texts(figure)
    assert "published feature extraction 90.0%" in shown
    assert "others' ResNet18 93.0%" in shown
    assert "3 trials, 120 test images" in shown


def test_accuracy_against_cost_needs_a_cost_of_every_strategy(example):
    others = example.cost[example.cost["strategy"] != "scratch"]
    with pytest.raises(ValueError, match=r"no row of \['scratch'\]"):
        cost.accuracy_against_cost(example.comparison, others)


def test_the_cost_of_trials_at_a_time_is_said_to_be_that(example):
    shared = example.cost.assign(parallel_trials=2)
    said = "Several trials trained at a time"
    assert said in texts(cost.accuracy_against_cost(example.comparison, shared)).replace("\n", " ")
    assert said not in texts(cost.accuracy_against_cost(example.comparison, example.cost)).replace("\n", " ")


def test_a_strategy_far_behind_leaves_room_for_the_others(example):
    table = example.comparison.query("metric == 'accuracy'").assign(low_images=np.nan, high_images=np.nan)
    means = dict(zip(table["strategy"], [0.6, 0.97, 0.98, 0.985], strict=True))
    ax = cost.accuracy_against_cost(table.assign(mean=table["strategy"].map(means)), example.cost).axes[0]
    heights = {mean: (ax.transScale + ax.transLimits).transform((1, 100 * mean))[1] for mean in means.values()}
    assert heights[0.98] - heights[0.97] > 0.1, "a point of accuracy can be seen"
    assert 0 < heights[0.6] < heights[0.97] < heights[0.985] < 1
    near = table.assign(mean=table["strategy"].map(dict(zip(means, [0.8, 0.82, 0.83, 0.84], strict=True))))
    assert cost.accuracy_against_cost(near, example.cost).axes[0].get_yscale() == "linear"


def test_an_accuracy_of_100_percent_can_be_drawn(example):
    table = example.comparison.query("metric == 'accuracy'")
    table = table.assign(mean=table["mean"].where(table["strategy"] == "scratch", 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = cost.accuracy_against_cost(table, example.cost)
    assert figure.axes[0].get_ylim()[1] < 100


def test_ticks_of_time_are_round(example):
    for seconds in (0.07, 0.9, 7, 45, 100, 800, 5000, 30_000):
        even = example.cost.assign(seconds=seconds, feature_seconds=0.0)
        ax = cost.accuracy_against_cost(example.comparison, even).axes[0]
        low, high = ax.get_xlim()
        shown = [tick.label1.get_text() for tick in ax.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]
        assert 3 <= len(shown) <= 6, shown
        assert all(re.fullmatch(r"[\d.]+ (s|min|h)|1 min 30 s|\d h 30 min|[\d.]+ min 30 s", text) for text in shown), (
            shown
        )


def test_features_count_towards_the_cost_of_a_trial(example):
    ax = cost.accuracy_against_cost(example.comparison, example.cost).axes[0]
    drawn = sorted(line.get_xdata()[0] for line in ax.get_lines())
    paid = (example.cost["seconds"] + example.cost["feature_seconds"]).groupby(example.cost["strategy"]).mean()
    np.testing.assert_allclose(drawn, sorted(paid))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=15), st.floats(0.001, 0.06))
def test_spread_labels_keep_their_order_and_never_overlap(wanted, gap):
    places = cost.spread(np.sort(wanted), gap)
    assert (np.diff(places) >= gap - 1e-9).all()
    assert places.min() >= -1e-9
    assert places.max() <= 1 + 1e-9


def test_labels_that_do_not_collide_stay_where_they_are():
    np.testing.assert_allclose(cost.spread(np.array([0.1, 0.5, 0.9]), 0.05), [0.1, 0.5, 0.9])


def test_a_forest_plot_draws_each_pair_once_and_marks_what_is_told_apart(example):
    rows = example.differences.query("metric == 'accuracy'")
    mirrored = rows.rename(columns={"strategy": "versus", "versus": "strategy"})
    both = pd.concat([rows, mirrored])
    ax = paired_differences.paired_differences(both).axes[0]
    assert len([line for line in ax.get_lines() if line.get_marker() == "o"]) == 6
    hollow = [line.get_markerfacecolor() == "white" for line in ax.get_lines() if line.get_marker() == "o"]
    told_apart = (rows["low_images"] > 0) | (rows["high_images"] < 0)
    assert hollow == (~told_apart).tolist()


def test_differences_far_away_are_arrows_and_leave_room_for_the_others(example):
    rows = example.differences.query("metric == 'accuracy'").assign(difference=0.01, low=0.0, high=0.02)
    rows = rows.assign(low_images=-0.01, high_images=0.03)
    far = {"difference": 0.5, "low": 0.49, "high": 0.51, "low_images": 0.45, "high_images": 0.55}
    rows.loc[rows.index[0], list(far)] = list(far.values())
    figure = paired_differences.paired_differences(rows)
    ax = figure.axes[0]
    assert ax.get_xlim()[1] < 5
    assert [line.get_marker() for line in ax.get_lines() if line.get_marker() in "o<>"] == [">", *"ooooo"]
    assert "+50.0 points [+45.0, +55.0]" in texts(figure)
    assert "Arrow: beyond the axis" in texts(figure)


def test_one_trial_has_no_interval_and_the_forest_says_so(make_example):
    single = make_example(trials=1)
    assert "1 trial, 120 test images: no interval" in texts(paired_differences.paired_differences(single.differences))


def test_samples_may_differ_in_size_and_have_one_channel(example):
    images = [*example.images[:3], example.images[0][..., :1]]
    paths = [f"train/{name}/IMG_{name}.jpg" for name in "abcd"]
    figure = samples.labelled_batch(images, ["a", "b", "<b>", "$x"], paths)
    assert "$x" in texts(figure)
    assert "IMG_c.jpg" in texts(figure)
    views = [np.stack([image] * 3) for image in images]
    figure = samples.augmented_views(images, views, list("abcd"), paths)
    assert "3 augmented views" in texts(figure)
    assert "IMG_d.jpg" in texts(figure)


def test_samples_need_as_many_names_as_images(example):
    with pytest.raises(ValueError, match="'images': 12, 'classes': 1"):
        samples.labelled_batch(example.images, ["a"], ["a.jpg"])


def test_examples_are_the_surest_mistakes_then_right_ones(example):
    chosen = samples.pick_examples(example.predictions, "scratch", most=12)
    is_right = chosen["truth"] == chosen["prediction"]
    assert (len(chosen), is_right.sum()) == (12, 6)
    own = example.predictions.query("strategy == 'scratch' and trial == 0")
    wrong = own[own["truth"] != own["prediction"]]
    assert chosen["confidence"].iloc[0] == wrong.filter(regex="^p_").max(axis=1).max()
    shown = texts(samples.prediction_grid(example.images, chosen))
    assert "(trial 1 of 3)" in shown.replace("\n", " ")
    assert "<b>.jpg" in shown
    assert (shown.count("✗ "), shown.count("✓ ")) == (6 + 1, 6), "one cross is in the note"


def test_examples_of_a_strategy_without_mistakes_are_all_right(example):
    perfect = example.predictions.assign(prediction=example.predictions["truth"])
    chosen = samples.pick_examples(perfect, "scratch", most=5)
    assert len(chosen) == 5
    assert (chosen["truth"] == chosen["prediction"]).all()


@pytest.mark.parametrize(
    ("name", "drawn"),
    [("$\\frac{1}{0}$", "$\\frac{1}{0}$"), ("line\nbreak\x00", "line break"), ("x" * 40, "x" * 14 + "…" + "x" * 13),
     ("\U0010fffd", "")],
)  # fmt: skip
def test_any_name_becomes_a_label(name, drawn):
    assert style.label(name) == drawn


@given(st.lists(st.text("ab ", min_size=1, max_size=60).map(str.strip), min_size=1, max_size=6, unique=True))
def test_different_names_get_different_labels(names):
    plain = {" ".join(name.split()) for name in names}
    assert len(set(style.labels(names, 8))) == len(plain)


@given(st.text(max_size=80), st.integers(2, 30))
def test_a_label_is_never_longer_than_asked(text, longest):
    drawable = "".join(c for c in text if c.isascii())
    assert len(style.label(drawable, longest)) <= longest


def test_a_long_name_is_whole_on_two_lines_or_cut_in_the_middle():
    assert style.wrapped("Andrena fulva (tawny mining bee)", 22) == "Andrena fulva (tawny\nmining bee)"
    first, second = style.wrapped("Megachile willughbiella (Willughby's leafcutter bee)", 16).split("\n")
    assert first.startswith("Megachile")
    assert second.endswith("bee)")


def test_characters_that_no_font_has_are_spelled_out(monkeypatch):
    monkeypatch.setattr(style, "_drawable", lambda: frozenset(map(ord, "abc")))
    assert style.label("a猫") == "a\\u732b"


def test_looks_depend_on_the_names_alone_and_are_told_apart():
    names = [f"strategy_{i}" for i in range(20)]
    looks = style.looks(names)
    assert looks == style.looks(reversed(names))
    assert len({(look.colour, look.marker) for look in looks.values()}) == 20


@pytest.mark.parametrize("draw", [steps.learning_rates, steps.step_losses])
def test_nothing_to_draw_is_an_error_that_says_so(example, draw):
    with pytest.raises(ValueError, match="nothing to draw"):
        draw(example.steps.iloc[:0])


def test_a_strategy_without_training_or_held_out_images_has_no_curve_and_says_why(example):
    for figure in (curves.all_errors(example.history.iloc[:0]), curves.strategy_errors(example.history, "no_such")):
        assert "no image was held out" in texts(figure)


def test_a_strategy_that_never_trains_is_drawn(example):
    history = example.history.query("strategy != 'scratch' or epoch == 0")
    assert "Error of scratch per epoch" in texts(curves.strategy_errors(history, "scratch"))
    free = example.cost.assign(seconds=example.cost["seconds"].where(example.cost["strategy"] != "scratch", 0.0))
    assert cost.accuracy_against_cost(example.comparison, free).axes[0].get_xscale() == "linear"
