"""The pipeline of one strategy, and of several, each in a namespace of its own."""

from collections.abc import Iterable

from kedro.pipeline import Pipeline, node

from transferlab.pipelines.named_partial import NamedPartial
from transferlab.pipelines.transfer import nodes, rounds

SHARED = {"index", "image_store", "statistics", "feature_cache", "experiment", "run_id"}


def create_pipeline(strategies: Iterable[str], in_rounds: bool = False) -> Pipeline:
    """Build, train and evaluate every strategy; `in_rounds` trains them in one node, until the best is known."""
    strategies = list(strategies)
    each = sum((one_strategy(name, trains=not in_rounds) for name in strategies), Pipeline([]))
    return each + _rounds(strategies) if in_rounds else each


def one_strategy(name: str, trains: bool = True) -> Pipeline:
    """Instantiate the template as the namespace `name`; its parameters are `strategies.<name>`."""
    return Pipeline(
        _template(name, trains),
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


def _rounds(strategies: list[str]) -> Pipeline:
    shared = {
        "training": "params:training",
        "report": "params:report",
        "index": "index",
        "image_store": "image_store",
        "feature_cache": "feature_cache",
    }
    own = [each.format(name) for name in strategies for each in rounds.OF_STRATEGY]
    train = node(
        NamedPartial(rounds.train_in_rounds, strategies),
        shared | {dataset: dataset for dataset in own},
        [*(f"{name}.{output}" for name in strategies for output in rounds.OUTPUTS), "rounds"],
        name="train_in_rounds",
        confirms=[f"{name}.unfinished_trials" for name in strategies],
        tags="transfer",
    )
    return Pipeline([train])


def _template(name: str, trains: bool) -> Pipeline:
    train, evaluate = NamedPartial(nodes.train, name), NamedPartial(nodes.evaluate, name)
    whole = Pipeline(
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
    return whole if trains else whole.filter(node_names=["build_model", "evaluate"])
