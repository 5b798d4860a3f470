"""The pipeline of the learning curve. It needs the images of the pipeline `data`, and no trained strategy."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from kedro.pipeline import Pipeline, node
from kedro.pipeline.node import Node

from transferlab.pipelines.learning_curve import nodes
from transferlab.pipelines.named_partial import NamedPartial
from transferlab.reporting.figures.learning_curve import learning_curves

_node = partial(node, namespace="learning_curve")
POINTS, FITS, BAND, CROSSINGS = (
    "learning_curve", "learning_curve_fits", "learning_curve_band", "learning_curve_crossings",
)  # fmt: skip


def create_pipeline(strategies: Iterable[str]) -> Pipeline:
    """Train these strategies on parts of the training images, tabulate, extrapolate, draw."""
    strategies = list(strategies)
    return Pipeline(
        [
            node(  # outside the namespace, which the strategies' trainings would interrupt
                nodes.draw_subsets,
                ["index", "params:dataset", "params:learning_curve"],
                "learning_curve_subsets",
                name="draw_subsets",
            ),
            *(_training(name) for name in strategies),
            _node(
                nodes.tabulate,
                [
                    "learning_curve_subsets",
                    "index",
                    "params:report",
                    *(f"{name}.curve_predictions" for name in strategies),
                ],
                [POINTS, FITS, BAND, CROSSINGS],
                name="tabulate",
            ),
            _node(learning_curves, [POINTS, FITS, BAND], "figure_learning_curve", name="draw_learning_curve"),
            _node(
                nodes.write_page,
                ["experiment", "params:report", "run_id", POINTS, FITS, CROSSINGS, "figure_learning_curve"],
                "learning_curve_page",
                name="write_page",
            ),
        ],
        tags="learning_curve",
    )


def _training(name: str) -> Node:
    return node(
        NamedPartial(nodes.train_on_parts, name),
        [
            f"params:strategies.{name}",
            "params:training",
            "params:report.metric",
            "statistics",
            "index",
            "image_store",
            "learning_curve_subsets",
            "feature_cache",
            f"{name}.unfinished_parts",
        ],
        [f"{name}.curve_predictions", f"{name}.curve_cost"],
        name="train_on_parts",
        namespace=name,
        confirms=f"{name}.unfinished_parts",
    )
