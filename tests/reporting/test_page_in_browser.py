"""The page in a real browser: it is drawn, says the verdict, and runs nothing."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferlab.reporting.cost import accuracy_against_cost
from transferlab.reporting.page import Tables, render
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
        example.summaries, example.duplicates,
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
