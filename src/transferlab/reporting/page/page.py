"""Renders the report: one self-contained HTML page without scripts, the answer first and the evidence after."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from transferlab.reporting import wording
from transferlab.reporting.page import certainty, results, sections
from transferlab.reporting.page.figure_index import KINDS, kind_of
from transferlab.reporting.page.next_steps import next_steps
from transferlab.reporting.page.uncertainty import rounds, uncertainty
from transferlab.reporting.verdict import verdict

# Rows of the tables of files: those not used (quarantined first; a part of CIFAR-10 leaves out 59,000) and duplicates.
MOST_ROWS = 200
MOST_MISTAKES = 25


@dataclass(frozen=True)
class Tables:
    """The tables that the page writes out; their columns are those that the pipeline stores.

    Attributes:
        comparison: mean and interval per strategy and metric.
        differences: paired differences between strategies.
        cost: what each trial took.
        metrics: one row per trial and metric, with run id and checkpoint version.
        per_class: precision, recall and F1 per trial and class.
        quarantine: images that were not used, with the reason.
        summaries: per strategy its layers and how many of their parameters each stage trains.
        duplicates: pairs that are, or may be, the same photograph; the page shows those across splits.
        mistakes: test images that any trial got wrong, the most often and most surely wrong first.
        together: what the trials of each strategy get together; no row where there is one.
        coverage: how often prediction sets hold the truth; no row where there is no validation split.
        rounds: what each look at trials in rounds has decided; None where their number was fixed.
    """

    comparison: pd.DataFrame
    differences: pd.DataFrame
    cost: pd.DataFrame
    metrics: pd.DataFrame
    per_class: pd.DataFrame
    quarantine: pd.DataFrame
    summaries: Mapping[str, pd.DataFrame]
    duplicates: pd.DataFrame
    mistakes: pd.DataFrame
    together: pd.DataFrame
    coverage: pd.DataFrame
    rounds: pd.DataFrame | None = None


def render(facts: Mapping[str, Any], tables: Tables, figures: Mapping[str, bytes], warnings: Sequence[str] = ()) -> str:
    """Write the report page.

    Args:
        facts: the facts dict (classes, image counts, licence, published figures, versions, ...). Of its optional
            keys `recipes` maps a strategy to the YAML that it was trained by, and `overrides` a run to what its command
            line changed.
        tables: the tables to write out.
        figures: PNG bytes, named as `figure_index` says (`"all_errors"`, `"confusion.fine_tuning"`); shown in their
            section in this order.
        warnings: a sentence for each reason to doubt the numbers (metrics older than the newest checkpoint, trials that
            diverged) with its cure; shown at the top.

    Returns:
        The HTML text: styles inline, pictures as data URIs, no script, no request to anywhere.

    Raises:
        ValueError: the comparison table has no accuracy row, or a figure has a name of no known kind.
        KeyError: `facts` lacks a key.
    """
    answer = verdict(tables.comparison, tables.differences, tables.cost)
    duplicates = sections.across_splits(tables.duplicates)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            facts=facts,
            verdict=answer,
            comparison=results.comparison(tables.comparison, tables.cost),
            published=results.published(tables.comparison, facts),
            differences=results.differences(tables.differences),
            together=certainty.together(tables.together),
            has_soup=bool((tables.together["kind"] == "soup").any()),
            coverage=certainty.coverage(tables.coverage),
            coverage_per_class=certainty.coverage_per_class(tables.coverage, facts["classes"]),
            level=tables.coverage["level"].max(),
            uncertainty=uncertainty(tables.differences, tables.comparison),
            rounds=None if tables.rounds is None else rounds(tables.rounds, tables.comparison),
            cost=sections.cost(tables.cost),
            images=sections.images(facts),
            several_splits=bool((tables.comparison["splits"] > 1).any()),
            per_class=sections.per_class(tables.per_class, facts["classes"]),
            checkpoints=sections.checkpoints(tables.metrics),
            quarantine=tables.quarantine.sort_values("status", ascending=False, kind="stable"),
            most_rows=MOST_ROWS,
            duplicates=duplicates,
            mistakes=sections.mistakes(tables.mistakes.head(MOST_MISTAKES)),
            all_mistakes=len(tables.mistakes),
            recipes=facts.get("recipes", {}),
            next_steps=next_steps(facts, answer, tables.comparison, tables.differences, tables.metrics, duplicates),
            summaries={name: sections.summary(table) for name, table in tables.summaries.items()},
            pictures=_by_section(figures),
            warnings=warnings,
        )
    )


def environment() -> Environment:
    """Return where the templates of pages are, with the filters that they use."""
    loader = PackageLoader("transferlab.reporting.page")
    templates = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters |= {"title": wording.title, "capital": wording.capital, "count": wording.count}
    return templates


@dataclass(frozen=True)
class Picture:
    """A figure as the page embeds it."""

    name: str
    alt: str
    uri: str


def picture(name: str, png: bytes) -> Picture:
    """Embed a figure; photographs as WebP, which takes a sixth of the space."""
    kind, alt = kind_of(name)
    media, content = ("webp", _webp(png)) if kind.is_of_photographs else ("png", png)
    return Picture(name, alt, f"data:image/{media};base64,{base64.b64encode(content).decode('ascii')}")


def _webp(png: bytes) -> bytes:
    file = BytesIO()
    with Image.open(BytesIO(png)) as image:
        image.convert("RGB").save(file, "WEBP", quality=90)
    return file.getvalue()


def _by_section(figures: Mapping[str, bytes]) -> dict[str, list[Picture]]:
    pictures: dict[str, list[Picture]] = {kind.section: [] for kind in KINDS.values()}
    for name, png in figures.items():
        pictures[kind_of(name)[0].section].append(picture(name, png))
    return pictures
