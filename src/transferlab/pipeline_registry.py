"""The project's pipelines. The strategies are read from the chosen experiment's parameters."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

from kedro.pipeline import Pipeline

from transferlab.config.context import current_experiment


def register_pipelines() -> dict[str, Pipeline]:
    """Compose `data`, `report`, `predict`, `learning_curve` and the default, `transfer`: data, strategies, report."""
    experiment = current_experiment()
    strategies = experiment.strategies
    # The nodes load torch, pandas, ...: a mistake in the parameters is told before.
    with _importing():
        from transferlab.pipelines.data.pipeline import create_pipeline as data_pipeline
        from transferlab.pipelines.learning_curve.pipeline import create_pipeline as curve_pipeline
        from transferlab.pipelines.predict.pipeline import create_pipeline as predict_pipeline
        from transferlab.pipelines.report.pipeline import create_pipeline as report_pipeline
        from transferlab.pipelines.transfer.pipeline import create_pipeline as strategies_pipeline

    data = data_pipeline()
    in_rounds = not isinstance(experiment.training.trials, int)
    is_queued = experiment.training.compute.launcher == "ray"
    report = report_pipeline(
        list(strategies), trained=any(strategy.stages for strategy in strategies.values()), in_rounds=in_rounds
    )
    that_train = [name for name, strategy in strategies.items() if strategy.stages]
    transfer = data + strategies_pipeline(strategies, in_rounds, is_queued) + report
    return {
        "__default__": transfer,
        "transfer": transfer,
        "data": data,
        "report": report,
        "predict": predict_pipeline(),
        "learning_curve": curve_pipeline(experiment.learning_curve.strategies or that_train),
    }


@contextmanager
def _importing() -> Iterator[None]:
    """Look for no garbage meanwhile, which would take a quarter of the time, nor among it later: it stays to the end.

    There it is looked at again: extension modules tell what of theirs is never freed.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)
        if was_enabled:
            gc.enable()
