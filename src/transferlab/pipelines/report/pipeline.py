"""The report pipeline: gather the strategies' tables, compare, draw, write the page.

Its nodes are in the namespace `report`, and those of a single strategy in the strategy's: Kedro-Viz shows each as one
group. Its datasets keep their plain names. All that a strategy hands over is one dataset, `<strategy>.results`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from kedro.pipeline import Pipeline, node
from kedro.pipeline.node import Node

from transferlab.pipelines.named_partial import NamedPartial
from transferlab.pipelines.report import drawing, nodes
from transferlab.reporting.figures import curves, paired_differences, steps, uncertainty

_report_node = partial(node, namespace="report")
ON_PAGE = ("facts", "comparison", "differences", "cost", "metrics", "per_class", "quarantine", "duplicates", "mistakes",
           "together", "coverage")  # fmt: skip
GATHERED = ("history", "steps", "cost", "metrics", "per_class", "together", "coverage", "confusion")
# What is read nowhere else in the strategy's namespace: Kedro-Viz would show it beside the results.
COLLECTED = ("summary", "fingerprints", "steps", "cost", "metrics", "per_class", "coverage", "together", "references",
             "figures")  # fmt: skip


def create_pipeline(strategies: list[str], trained: bool = True, in_rounds: bool = False) -> Pipeline:
    """Report on some strategies; `trained` says whether any has a stage, `in_rounds` whether they trained in rounds."""
    overall = _overall_figures(trained, several=len(strategies) > 1)
    drawn = [output for each in overall for output in each.outputs]
    results = [f"{name}.results" for name in strategies]
    more = ["rounds"] if in_rounds else []
    return Pipeline(
        [
            *(each for name in strategies for each in _of_strategy(name)),
            _report_node(NamedPartial(nodes.gather, GATHERED), results, list(GATHERED), name="gather"),
            _report_node(
                nodes.compare,
                ["metrics", "index", "params:dataset", "params:report", *results],
                ["comparison", "differences"],
                name="compare",
            ),
            _report_node(nodes.list_mistakes, results, "mistakes", name="list_mistakes"),
            _report_node(
                nodes.collect_facts,
                [
                    "experiment",
                    "run_id",
                    "params:dataset",
                    "params:training",
                    "params:report",
                    "statistics",
                    "quarantine",
                    "cost",
                    "acquired",
                    "parameters_used",
                    *results,
                ],
                "facts",
                name="collect_facts",
            ),
            *overall,
            _report_node(
                NamedPartial(nodes.write_page, strategies, drawn),
                {name: name for name in (*ON_PAGE, *results, *more, *drawn)},
                "report",
                name="write_page",
            ),
        ],
        tags="report",
    )


def _overall_figures(trained: bool, several: bool) -> list[Node]:
    drawn = [
        # What the images look like needs no training, and training need not wait for it: so both take the facts, too.
        _figure(drawing.draw_batch, ["index", "image_store", "facts"], "batch"),
        _figure(
            drawing.draw_augmented,
            ["index", "image_store", "statistics", "params:strategies", "params:training", "facts"],
            "augmented",
        ),
        _figure(drawing.draw_cost, ["comparison", "cost", "facts"], "accuracy_against_cost"),
        _figure(curves.all_errors, ["history"], "all_errors"),
    ]
    if several:
        pairs = ["differences", "comparison"]
        drawn.append(_figure(paired_differences.that_decide, pairs, "differences"))
        drawn.append(_figure(paired_differences.beside, pairs, "differences_beside"))
        drawn.append(_figure(uncertainty.sources_of_uncertainty, pairs, "uncertainty"))
    if trained:
        drawn += [
            _figure(steps.learning_rates, ["steps"], "learning_rates"),
            _figure(steps.step_losses, ["steps"], "step_losses"),
        ]
    return drawn


def _of_strategy(name: str) -> list[Node]:
    return [
        node(
            NamedPartial(drawing.draw_figures, name),
            [
                f"params:strategies.{name}",
                *(f"{name}.{table}" for table in ("history", "confusion", "predictions")),
                "statistics",
                "index",
                "image_store",
            ],
            f"{name}.figures",
            name="draw_figures",
            namespace=name,
        ),
        node(
            nodes.collect, [f"{name}.{each}" for each in COLLECTED], f"{name}.results", name="collect", namespace=name
        ),
    ]


def _figure(draw: Callable[..., Any], inputs: list[str], kind: str) -> Node:
    return _report_node(draw, inputs, f"figure_{kind}", name=f"draw_{kind}")
