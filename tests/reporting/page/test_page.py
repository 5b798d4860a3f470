import base64
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from page_tables import tables_of
from PIL import Image

from transferlab.reporting.figures.curves import all_errors
from transferlab.reporting.page.page import picture, render
from transferlab.reporting.verdict import verdict


def png(figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


class Page(HTMLParser):
    """Tags, ids and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.sources, self.alts, self.text = [], [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for key, value in attrs if key in ("src", "href", "srcset")]
        self.alts += [value for key, value in attrs if key == "alt"]

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def page(example) -> Page:
    figures = {"all_errors": png(all_errors(example.history)), "confusion.fine_tuning": b"\x89PNG"}
    return Page(render(example.facts, tables_of(example), figures))


def test_the_answer_comes_first(page, example):
    answer = verdict(example.comparison, example.differences, example.cost)
    assert 0 < page.text.index(answer.headline) < page.text.index("How the strategies compare")
    for sentence in answer.sentences:
        assert sentence in page.text


def test_the_contents_lead_to_sections(example):
    html = render(example.facts, tables_of(example), {"all_errors": b"\x89PNG"})
    places = re.findall(r'href="#([^"]+)"', html)
    assert places[0] == "comparison"
    assert places[-1] == "next"
    assert {"learning", "errors", "models"} < set(places)
    assert all(f'<section id="{place}"' in html for place in places)


def test_the_last_section_has_the_commands_for_this_run(page, example):
    last = page.text[page.text.rindex("What to do next") :]
    assert "uv run kedro run --pipeline=transfer --env=dogs --params=training.trials=6" in last
    assert "uv run kedro run --pipeline=transfer --env=dogs --params=dataset.duplicates=exclude" in last
    assert f"data/06_models/dogs/feature_extraction/checkpoints/{example.facts['run_id']}" in last
    model = f"feature_extraction@{example.facts['run_id']} --env=dogs"
    assert f"kedro transferlab predict path/to/new/images {model} --out=predictions.csv" in last
    assert f"kedro transferlab export {model} --out=my_model" in last
    assert "conf/dogs/parameters.yml" in last


def test_a_clear_answer_needs_no_more_trials(make_example):
    clear = make_example(["a", "b"], {"scratch": 0.1, "fine_tuning": 0.99}, per_class=200)
    clear.facts["images"]["excluded"] = {"a": 1}
    text = Page(render(clear.facts, tables_of(clear), {})).text
    assert "Use fine tuning: clearly the best" in text
    assert "training.trials" not in text
    assert "dataset.duplicates=exclude" not in text
    assert "06_models/dogs/fine_tuning" in text


@pytest.mark.parametrize(
    ("splitting", "images", "trials", "advised", "said"),
    [
        ("one split", math.inf, 12, "training.trials=6", "train 6 trials instead of 3"),
        (
            "one split",
            900,
            math.inf,
            "dataset.split.resplits=6",
            "add more test photographs; more trials alone are not",
        ),
        (
            "one split",
            math.inf,
            math.inf,
            "dataset.split.resplits=6",
            "photographs and train more trials; either alone",
        ),
        ("re-splits", math.nan, math.inf, "", "collect more photographs; no number of further splits"),
    ],
)
def test_more_trials_are_advised_only_where_they_can_be_enough(example, splitting, images, trials, advised, said):
    tables = replace(
        tables_of(example),
        comparison=example.comparison.assign(splitting=splitting),
        differences=example.differences.assign(images_needed=float(images), trials_needed=float(trials), target=0.001),
    )
    text = Page(render(example.facts, tables, {})).text
    last = text[text.rindex("What to do next") :]
    assert said in last
    assert advised in last
    assert ("train 6 trials" in last) == math.isfinite(trials)


def test_a_recipe_is_behind_a_fold_as_yaml_that_can_be_pasted(example):
    recipe = "fine_tuning:\n  stages: {<tune>: {epochs: 4}}\n"
    html = render(example.facts | {"recipes": {"fine_tuning": recipe}}, tables_of(example), {})
    assert recipe in Page(html).text
    assert html.count(": the recipe</summary>") == 1


def test_mistakes_are_listed_with_their_trials_and_those_not_shown_counted(page, example):
    shown = page.text[page.text.index("Most often and most surely wrong") :]
    first = example.mistakes.iloc[0]
    assert first["path"] in shown
    assert f"{first['wrong']} of 12" in shown
    assert f"{first['wrong_scratch']} of 3" in shown
    assert f"And {len(example.mistakes) - 25} more images" in shown


def test_without_mistakes_the_page_says_so(example):
    none = replace(tables_of(example), mistakes=example.mistakes.head(0))
    assert "No trial got any test image wrong" in Page(render(example.facts, none, {})).text


def test_the_size_of_a_network_stands_beside_its_accuracy(page):
    table = page.text[page.text.index("How the strategies compare") : page.text.index("Published figures beside ours")]
    assert "11.2 M 45 MB" in " ".join(table.split())


def test_names_stay_text(page, example):
    assert "script" not in page.tags
    assert page.tags.count("img") == 2, "only our figures"
    for name in example.facts["classes"]:
        assert name in page.text
    assert "train/<img src=x onerror=alert(2)>.jpg" in page.text


def test_the_page_is_self_contained(example):
    html = render(example.facts, tables_of(example), {"all_errors": png(all_errors(example.history))})
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in Page(html).sources)
    assert not re.search(r"@import|url\(|<link|http-equiv=.refresh", html)
    (source,) = [source for source in Page(html).sources if source.startswith("data:")]
    picture = base64.b64decode(source.partition(",")[2])
    assert picture.startswith(b"\x89PNG")


@pytest.mark.parametrize(("name", "kind"), [("batch", "webp"), ("grid.scratch", "webp"), ("all_errors", "png")])
def test_photographs_are_embedded_in_little_space_and_lines_without_loss(example, name, kind):
    drawn = png(all_errors(example.history))
    uri, _, content = picture(name, drawn).uri.partition(",")
    assert uri == f"data:image/{kind};base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as embedded, Image.open(io.BytesIO(drawn)) as whole:
        assert embedded.size == whole.size
        apart = np.asarray(embedded.convert("RGB"), float) - np.asarray(whole.convert("RGB"), float)
    assert np.abs(apart).mean() < (2 if kind == "webp" else 1e-9)


def test_pictures_have_alternative_texts(page):
    assert page.alts == [
        "Held-out error of every strategy per epoch",
        "Confusion matrix of fine tuning: shares of each true class, mean over trials",
    ]


def test_every_number_says_what_it_is(page, example):
    row = example.comparison.query("strategy == 'fine_tuning' and metric == 'accuracy'").iloc[0]
    assert f"{100 * row['mean']:.1f}%" in page.text
    assert f"[{100 * row['low']:.1f}, 100.0]" in page.text, "the interval's end of 100.3% is cut"
    for said in (
        "mean [95% interval over trials and images]",
        "trials alone\n[",
        "best validation accuracy",
        "95%, trials and images",
        "a tutorial",
        "90.0%",
    ):
        assert said in page.text, said


def test_provenance_data_and_costs_are_there(page, example):
    for said in (
        example.facts["run_id"],
        "torch 2.9.0",
        "2 threads",
        "CC BY-NC-SA 4.0",
        "2 files quarantined, 1 file ignored",
        "The pretraining has seen data like this",
        "Trained in stage head",
        "5,130",
        "812 MB",
        "Checkpoint version",
    ):
        assert said in page.text, said


def test_a_licence_that_ends_with_a_full_stop_has_one(example):
    facts = example.facts | {"licence": "For research and teaching."}
    assert "Licence: For research and teaching. Seen" in Page(render(facts, tables_of(example), {})).text


def test_warnings_come_before_the_answer(example):
    line = "fine_tuning: evaluated <old>, newest is 2026-11-20"
    text = Page(render(example.facts, tables_of(example), {}, warnings=[line])).text
    assert text.index(line) < text.index("The answer")
    assert "Before you rely on" not in Page(render(example.facts, tables_of(example), {})).text


def test_duplicates_across_splits_are_candidates_and_those_within_a_split_are_not_shown(page):
    assert "Candidates for duplicates: 2 pairs" in page.text
    assert "are, or may be, the same photograph" in page.text
    assert "test/<b>.jpg" in page.text
    assert "a copy.jpg" not in page.text


def test_what_was_done_about_duplicates_is_said(page, example):
    assert "dataset.duplicates: exclude trains without the first of each such pair" in page.text
    name = example.facts["classes"][0]
    facts = {**example.facts, "images": {**example.facts["images"], "excluded": {name: 2}}}
    text = Page(render(facts, tables_of(example), {})).text
    assert "The first of each such pair was excluded from its split, 2 images in all" in text
    assert "Excluded" in text[text.index("Number of images") :]


def test_without_duplicates_across_splits_the_page_says_so(example):
    within = replace(tables_of(example), duplicates=example.duplicates.head(1))
    assert "No photograph was found in more than one split" in Page(render(example.facts, within, {})).text


def test_two_labels_of_a_photograph_within_a_split_are_no_duplicates_to_exclude(example):
    within = example.duplicates.head(1).assign(split_a="train", split_b="train", class_a="x", class_b="y")
    page = render(example.facts, replace(tables_of(example), duplicates=within), {})
    assert "None is across splits" in Page(page).text
    assert "duplicates=exclude" not in page


def test_of_many_duplicates_the_nearest_are_shown_and_the_rest_is_counted(example):
    many = pd.DataFrame({"path_a": [f"{i}.png" for i in range(203)], "class_a": "x", "split_a": "train"})
    many = many.assign(path_b="b.png", class_b="x", split_b="test", kind="near", distance=range(203, 0, -1))
    text = Page(render(example.facts, replace(tables_of(example), duplicates=many), {})).text
    assert "Candidates for duplicates: 203 pairs" in text
    assert "202.png" in text
    assert "And 3 more pairs" in text


def test_the_cost_of_a_trial_alone_is_shown_with_its_parts(page, example):
    own = example.cost.query("strategy == 'feature_extraction'")
    assert "One trial, alone" in page.text
    assert f"training {own['seconds'].mean():.2g} s (" in page.text
    assert "+ features 8 s (96 MB), shared by all trials" in page.text
    assert page.text.count("shared by all trials") == 1, "the others keep no features"


def test_trials_that_shared_the_machine_are_told(page, example):
    assert "trials at a time" not in page.text
    tables = replace(tables_of(example), cost=example.cost.assign(threads=1, parallel_trials=2))
    assert "cpu, 1 thread, 2 trials at a time" in Page(render(example.facts, tables, {})).text


def test_one_strategy_with_one_trial_makes_a_page(make_example):
    single = make_example(["a", "b"], {"fine_tuning": 0.9}, trials=1)
    facts = single.facts | {"published": [], "reference_lines": [], "licence": None, "seen_in_pretraining": False}
    text = Page(render(facts, tables_of(single), {})).text
    assert "Only fine tuning was run" in text
    assert "Pair by pair" not in text
    assert "nan" not in re.sub(r"[a-z]*nan[a-z]+|[a-z]+nan", "", text.lower())


def test_the_same_inputs_give_the_same_page(example):
    pages = {
        render(example.facts, tables_of(example), {"all_errors": png(all_errors(example.history))}) for _ in range(2)
    }
    assert len(pages) == 1


def test_a_figure_of_no_known_kind_is_refused(example):
    with pytest.raises(ValueError, match=r"figure 'curves.scratch'.*'all_errors'"):
        render(example.facts, tables_of(example), {"curves.scratch": b""})


def test_of_many_files_left_out_the_quarantined_come_first_and_the_rest_is_counted(example):
    ignored = pd.DataFrame({"path": [f"{i}.png" for i in range(900)], "status": "ignored", "reason": "not in the part"})
    bad = pd.DataFrame({"path": ["broken.png"], "status": "quarantined", "reason": "truncated"})
    tables = replace(tables_of(example), quarantine=pd.concat([ignored, bad], ignore_index=True))
    text = Page(render(example.facts, tables, {})).text
    assert text.index("broken.png") < text.index("0.png")
    assert "899.png" not in text
    assert "And 701 more files" in text
