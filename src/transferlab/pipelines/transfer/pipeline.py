"""The pipeline of one strategy, and of several, each in a namespace of its own."""

from collections.abc import Iterable

from kedro.pipeline import Pipeline, node

from transferlab.pipelines.named_partial import NamedPartial
from transferlab.pipelines.transfer import nodes

SHARED = {"index", "image_store", "statistics", "feature_cache", "experiment", "run_id"}


def create_pipeline(strategies: Iterable[str]) -> Pipeline:
    """Build, train and evaluate every strategy."""
    return sum((one_strategy(name) for name in strategies), Pipeline([]))


def one_strategy(name: str) -> Pipeline:
    """Instantiate the template as the namespace `name`; its parameters are `strategies.<name>`."""
    return Pipeline(
        _template(name),
        namespace=name,
        inputs=SHARED,
        parameters={
            "params:strategy": f"params:strategies.{name}",
            "params:training": "params:training",
            "params:dataset": "params:dataset",
            "params:predict": "params:predict",
        },
        tags=["transfer", name],
    )


def _template(name: str) -> Pipeline:
    train, evaluate = NamedPartial(nodes.train, name), NamedPartial(nodes.evaluate, name)
    return Pipeline(
        [
            node(
                nodes.build_model,
                ["params:strategy", "params:training", "statistics"],
                ["initial_model", "summary"],
                name="build_model",
            ),
            node(
                train,
                [
                    "params:strategy",
                    "params:training",
                    "initial_model",
                    "index",
                    "image_store",
                    "feature_cache",
                    "unfinished_trials",
                    "finished_trials",
                ],
                ["checkpoints", "history", "steps", "cost", "fingerprints"],
                name="train",
                confirms="unfinished_trials",
            ),
            node(
                evaluate,
                [
                    "params:strategy",
                    "params:training",
                    "params:dataset",
                    "params:predict",
                    "checkpoints",
                    "index",
                    "image_store",
                    "feature_cache",
                    "experiment",
                    "run_id",
                ],
                ["predictions", "metrics", "per_class", "confusion", "coverage", "together", "references"],
                name="evaluate",
            ),
        ]
    )
