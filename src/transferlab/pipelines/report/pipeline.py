"""The report pipeline: gather the strategies' tables, compare, draw, write the page.

Its nodes are in the namespace `report`, and those that draw a single strategy in the strategy's: Kedro-Viz shows each
as one group. Its datasets keep their plain names.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from kedro.pipeline import Pipeline, node
from kedro.pipeline.node import Node

from transferlab.pipelines.named_partial import NamedPartial
from transferlab.pipelines.report import nodes
from transferlab.reporting.figures import cost, curves, evaluation, paired_differences, steps, uncertainty

_report_node = partial(node, namespace="report")
ON_PAGE = ("facts", "comparison", "differences", "cost", "metrics", "per_class", "quarantine", "duplicates", "mistakes",
           "together", "coverage")  # fmt: skip
GATHERED = ("history", "steps", "cost", "metrics", "per_class", "confusion", "together", "coverage")


def create_pipeline(strategies: list[str], trained: bool = True, in_rounds: bool = False) -> Pipeline:
    """Report on some strategies; `trained` says whether any has a stage, `in_rounds` whether they trained in rounds."""
    overall = _overall_figures(trained, several=len(strategies) > 1)
    own = [each for name in strategies for each in _strategy_figures(name)]
    drawn = [output for each in [*overall, *own] for output in each.outputs]
    more = [f"{name}.{kind}" for kind in ("summary", "checkpoints") for name in strategies]
    more += ["rounds"] if in_rounds else []
    return Pipeline(
        [
            *(
                _report_node(nodes.gather, [f"{name}.{table}" for name in strategies], table, name=f"gather_{table}")
                for table in GATHERED
            ),
            _report_node(
                nodes.compare,
                [
                    "metrics",
                    "index",
                    "params:dataset",
                    "params:report",
                    *(f"{name}.predictions" for name in strategies),
                ],
                ["comparison", "differences"],
                name="compare",
            ),
            _report_node(
                nodes.list_mistakes, [f"{name}.predictions" for name in strategies], "mistakes", name="list_mistakes"
            ),
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
                    *(f"{name}.checkpoints" for name in strategies),
                ],
                "facts",
                name="collect_facts",
            ),
            *overall,
            *own,
            _report_node(
                NamedPartial(nodes.write_page, strategies, {output: _page_name(output) for output in drawn}),
                {name: name for name in (*ON_PAGE, *more, *drawn)},
                "report",
                name="write_page",
            ),
        ],
        tags="report",
    )


def _overall_figures(trained: bool, several: bool) -> list[Node]:
    drawn = [
        _figure(nodes.draw_batch, ["index", "image_store"], "batch"),
        _figure(
            nodes.draw_augmented,
            ["index", "image_store", "statistics", "params:strategies", "params:training"],
            "augmented",
        ),
        _figure(draw_cost, ["comparison", "cost", "facts"], "accuracy_against_cost"),
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


def _strategy_figures(name: str) -> list[Node]:
    return [
        _figure(NamedPartial(curves.strategy_errors, strategy=name), [f"{name}.history"], "errors", name),
        _figure(NamedPartial(draw_confusion, strategy=name), [f"{name}.confusion", "statistics"], "confusion", name),
        _figure(NamedPartial(evaluation.reliability, strategy=name), [f"{name}.predictions"], "reliability", name),
        _figure(NamedPartial(nodes.draw_grid, name), [f"{name}.predictions", "index", "image_store"], "grid", name),
    ]


def draw_cost(comparison: Any, costs: Any, facts: dict[str, Any]) -> Any:
    """Draw accuracy against cost, with the published figures."""
    return cost.accuracy_against_cost(comparison, costs, facts["published"], facts["reference_lines"])


def draw_confusion(confusion: Any, statistics: dict[str, Any], strategy: str) -> Any:
    """Draw the confusion matrix, classes in the order of their labels."""
    return evaluation.confusion_matrix(confusion, strategy, statistics["classes"])


def _figure(draw: Callable[..., Any], inputs: list[str], kind: str, strategy: str | None = None) -> Node:
    prefix = f"{strategy}." if strategy else ""
    return node(draw, inputs, f"{prefix}figure_{kind}", name=f"draw_{kind}", namespace=strategy or "report")


def _page_name(dataset: str) -> str:
    """Name a figure as the page does: `figure_batch` is `batch`, `scratch.figure_grid` is `grid.scratch`."""
    strategy, _, kind = dataset.rpartition("figure_")
    return f"{kind}.{strategy.removesuffix('.')}" if strategy else kind
