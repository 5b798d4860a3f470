"""The pipeline of one strategy, and of several, each in a namespace of its own."""

from collections.abc import Iterable, Sequence

from kedro.pipeline import Pipeline, node

from transferlab.pipelines.named_partial import NamedPartial
from transferlab.pipelines.transfer import jobs, nodes, rounds

METRIC = "params:report.metric"
SHARED = {"index", "image_store", "statistics", "feature_cache", "earlier_trials", "experiment", "run_id"}


def create_pipeline(strategies: Iterable[str], in_rounds: bool = False, queued: bool = False) -> Pipeline:
    """Build, train and evaluate every strategy.

    Args:
        strategies: their names.
        in_rounds: train them in one node, until the best is known.
        queued: begin the trials of all of them in one node; each waits for its own.
    """
    strategies = list(strategies)
    if in_rounds:
        return _all(strategies, trains=False) + _rounds(strategies)
    return _all(strategies, queued=queued) + (_queue(strategies) if queued else Pipeline([]))


def _all(strategies: Sequence[str], **how: bool) -> Pipeline:
    return sum((one_strategy(name, **how) for name in strategies), Pipeline([]))


def one_strategy(name: str, trains: bool = True, queued: bool = False) -> Pipeline:
    """Instantiate the template as the namespace `name`; its parameters are `strategies.<name>`."""
    template = _template(name, trains, queued)
    parameters = {
        "params:strategy": f"params:strategies.{name}",
        "params:training": "params:training",
        "params:metric": METRIC,
        "params:dataset": "params:dataset",
        "params:predict": "params:predict",
    }
    return Pipeline(
        template,
        namespace=name,
        inputs=(SHARED | {"queue"}) & template.inputs(),
        parameters={own: given for own, given in parameters.items() if own in template.inputs()},
        tags=["transfer", name],
    )


def _of_all(strategies: Sequence[str]) -> dict[str, str]:
    """Return the inputs of a node that trains all strategies, by the names of its arguments."""
    shared = {name: name for name in ("index", "image_store", "feature_cache", "earlier_trials")}
    own = [each.format(name) for name in strategies for each in jobs.OF_STRATEGY]
    return {"training": "params:training", "metric": METRIC, **shared, **{dataset: dataset for dataset in own}}


def _queue(strategies: Sequence[str]) -> Pipeline:
    begin = NamedPartial(nodes.queue_trials, strategies)
    return Pipeline([node(begin, _of_all(strategies), "queue", name="queue_trials", tags="transfer")])


def _rounds(strategies: Sequence[str]) -> Pipeline:
    train = node(
        NamedPartial(rounds.train_in_rounds, strategies),
        _of_all(strategies),
        [*(f"{name}.{output}" for name in strategies for output in rounds.OUTPUTS), "rounds"],
        name="train_in_rounds",
        confirms=[f"{name}.unfinished_trials" for name in strategies],
        tags="transfer",
    )
    return Pipeline([train])


def _template(name: str, trains: bool, queued: bool) -> Pipeline:
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
                    "params:metric",
                    "initial_model",
                    "index",
                    "image_store",
                    "feature_cache",
                    "earlier_trials",
                    *(["queue"] if queued else []),
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
