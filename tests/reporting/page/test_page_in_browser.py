"""The page in a real browser: it is drawn, says the verdict, and runs nothing."""

import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from transferlab.core.data.decoding.batch import Decoding
from transferlab.core.data.duplicates import duplicates
from transferlab.core.data.listing.config import ClassFolders
from transferlab.core.data.listing.layout import list_images
from transferlab.core.data.split.config import SplitConfig
from transferlab.core.data.split.index import assign
from transferlab.core.data.statistics import class_counts
from transferlab.core.data.store import Resize
from transferlab.core.data.store_builder import build
from transferlab.reporting.figures.cost import accuracy_against_cost
from transferlab.reporting.figures.samples import labelled_batch
from transferlab.reporting.page.page import Tables, render
from transferlab.reporting.verdict import verdict

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on PATH")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def page(example, tmp_path_factory) -> Path:
    tables = Tables(
        example.comparison, example.differences, example.cost, example.metrics, example.per_class, example.quarantine,
        example.summaries, example.duplicates, example.mistakes, example.together, example.coverage,
    )  # fmt: skip
    figure = io.BytesIO()
    accuracy_against_cost(example.comparison, example.cost).savefig(figure, format="png")
    # The names below would change the page's title, if one of them ran.
    facts = example.facts | {"title": "<script>document.title='it ran'</script>"}
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(
        render(
            facts,
            tables,
            {"accuracy_against_cost": figure.getvalue()},
            ["<img src=x onerror=\"document.title='it ran'\">"],
        ),
        encoding="utf-8",
    )
    return path


def browse(page: Path, profile: Path, *options: str) -> str:
    command = [str(BROWSER), *QUIET, f"--user-data-dir={profile}", *options, page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.parametrize("width", [1200, 400])
def test_the_screenshot_is_not_blank(page, tmp_path, width):
    shot = tmp_path / "shot.png"
    browse(page, tmp_path / "profile", f"--screenshot={shot}", f"--window-size={width},1600")
    image_HWC = np.asarray(Image.open(shot).convert("RGB"))
    assert image_HWC.std() > 10
    halves = np.array_split(image_HWC, 2)
    assert all(len(np.unique(half.reshape(-1, 3), axis=0)) > 20 for half in halves), "text and figure in both halves"


def test_the_verdict_is_in_the_page_and_no_script_ran(page, example, tmp_path):
    dom = browse(page, tmp_path / "profile", "--dump-dom")
    answer = verdict(example.comparison, example.differences, example.cost)
    assert answer.headline in dom
    assert "<title>&lt;script&gt;document.title='it ran'" in dom, "the title is the name, as text"
    assert "<title>it ran" not in dom
    assert "<script" not in dom


RUN = "document.title='it ran'"
CLASSES = [
    f"<img src=x onerror={RUN}>",
    f'" onmouseover="{RUN}" autofocus onfocus="{RUN}',
    f"'><svg onload={RUN}>",
    "<!-- <style>*{display:none}",
    "{{ 7 * 7 }} {% raw %}",
]
SCRIPT = f"<script>{RUN}<", "script>"  # a folder and the file in it: together a whole element


class Elements(HTMLParser):
    """What a page is made of: its tags, their attributes, and its texts (outside of <style>)."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def hostile(make_example, tmp_path_factory) -> str:
    """The page of a real folder whose classes and files are called so; some are torn, some are in two splits."""
    root, rng = tmp_path_factory.mktemp("hostile") / "images", np.random.default_rng(0)
    for name in CLASSES:
        inside = root / name / SCRIPT[0]
        inside.mkdir(parents=True)
        for i in range(12):
            noise = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize((48, 36))
            noise.save(inside / f"{SCRIPT[1]}{i}.png")
            noise.save(inside / f"{SCRIPT[1]}{i} copy.png")
        (inside / f"{SCRIPT[1]}torn.png").write_bytes(b"\x89PNG")
    listing, left_out = list_images(root, ClassFolders())
    stores, accepted, quarantine = build(root, listing, [Resize()], root.parent / "stores", Decoding(workers=0))
    index = assign(accepted, SplitConfig())
    pairs = duplicates(index, stores["full"])
    assert len(quarantine) == len(CLASSES)
    assert (pairs["split_a"] != pairs["split_b"]).any()
    example = make_example(sorted(CLASSES), {"scratch": 0.6, "fine_tuning": 0.9}, per_class=4)
    tables = Tables(
        example.comparison, example.differences, example.cost, example.metrics, example.per_class,
        pd.concat([quarantine, left_out]), example.summaries, pairs, example.mistakes, example.together,
        example.coverage,
    )  # fmt: skip
    figure = io.BytesIO()
    shown = index.iloc[:12]
    drawn = labelled_batch(stores["full"].batch(range(12)), list(shown["class"]), list(shown["path"]))
    drawn.savefig(figure, format="png")
    facts = example.facts | {"images": class_counts(index), "description": CLASSES[0], "experiment": CLASSES[2]}
    return render(facts, tables, {"batch": figure.getvalue()}, CLASSES)


@pytest.mark.parametrize("with_policy", [True, False], ids=["as it is", "without its policy against scripts"])
def test_names_of_folders_and_files_are_text_everywhere(hostile, tmp_path, with_policy):
    html = hostile if with_policy else re.sub(r"<meta http-equiv=.Content-Security-Policy[^>]*>", "", hostile)
    assert with_policy == ("Content-Security-Policy" in html)
    path = tmp_path / "report.html"
    path.write_text(html, encoding="utf-8")
    dom = Elements(browse(path, tmp_path / "profile", "--dump-dom"))
    assert "it ran: which" not in dom.text
    assert "Ten dog breeds & other names: which transfer is best?" in dom.text
    assert not dom.tags & {"script", "svg", "iframe", "object", "link", "base", "form"}
    assert not {name for name in dom.attributes if name.startswith("on")} | dom.attributes & {"autofocus"}
    for name in CLASSES:
        assert dom.text.count(name) >= 4, "the warning, images per class, figures per class, files left out"
        assert f"{name}/{SCRIPT[0]}/{SCRIPT[1]}torn.png" in dom.text
    assert f"{SCRIPT[0]}/{SCRIPT[1]}0 copy.png" in dom.text
