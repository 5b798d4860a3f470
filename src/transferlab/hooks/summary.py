"""The first and the last lines of a run: what it is about, what it has made and where that is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from transferlab.console.terminal import say
from transferlab.datasets.atomic import WholeDataset
from transferlab.reporting.wording import capital, count, duration, number, title

if TYPE_CHECKING:
    from transferlab.config.loader import ExperimentConfigLoader
    from transferlab.config.schema import Experiment

logger = logging.getLogger(__name__)
Catalog = CatalogProtocol[Any, Any]
NOTHING_MADE = (
    "Nothing to do: every output is there. --only-missing-outputs looks whether outputs exist, not with which "
    "parameters they were made; leave it out to make them anew."
)


def beginning(loader: ExperimentConfigLoader, trains_all: bool) -> str:
    """Write the first line: experiment, strategies x trials where all of them are trained, where results go."""
    experiment, report = loader.experiment, loader["catalog"]["report"]["filepath"]
    where = f"results go to {Path(report).parent}"
    if not trains_all:
        return f"Experiment {loader.experiment_name}: {where}"
    strategies, training = count(len(experiment.strategies), "strategy", "strategies"), experiment.training
    fewest = f"{training.least_trials} to " if training.least_trials < training.most_trials else ""
    trials = f"{fewest}{count(training.most_trials, 'trial')}"
    return f"Experiment {loader.experiment_name}: {strategies} x {trials}; {where}"


def nothing_changed(run_id: str) -> str:
    """Say that a run would make what another one has made."""
    return (
        f"Nothing has changed since the run {run_id} (images, parameters, weights, code), and all that it made is "
        "there. To train it again: --params=training.fresh=true. To draw its report again: --pipeline=report"
    )


def of_data(statistics: dict[str, Any]) -> str:
    """Write the numbers of classes and images."""
    images = {split: sum(counts.values()) for split, counts in statistics["images"].items()}
    each = ", ".join(f"{count(number)} {split}" for split, number in images.items())
    return f"{count(len(statistics['classes']), 'class', 'classes')}, {count(sum(images.values()), 'image')} ({each})"


def expected(experiment: Experiment, pipeline: Pipeline, catalog: Catalog) -> dict[str, float]:
    """Say how long the strategies of a pipeline will train, and return the seconds of each.

    Nothing is said of a cluster, whose nodes are not this machine, or where the few steps that tell cannot be done:
    that is no reason to end a run.
    """
    from transferlab.core.models.factory import view_of  # these load torch, which a finished run need not
    from transferlab.core.runtime.device import apply, resolve
    from transferlab.core.training.estimate import seconds, work_of

    statistics, training = catalog.load("statistics"), experiment.training
    if training.compute.launcher == "ray":
        return {}
    machine = apply(resolve(training.compute))
    images = sum(statistics["images"].get("train", {}).values())
    trained = {name.removesuffix(".checkpoints") for name in pipeline.all_outputs() if name.endswith(".checkpoints")}
    found = {}
    for name in sorted(trained & experiment.strategies.keys()):
        strategy = experiment.strategies[name]
        size = view_of(strategy.model, strategy.input, None).size
        work = work_of(strategy, size, images, training.most_trials)
        try:
            found[name] = seconds(work, len(statistics["classes"]), machine.device)
        except RuntimeError as error:
            logger.info("how long training takes is not known: %s", error)
            return {}
    if found:
        each = ", ".join(f"{name} {duration(value)}" for name, value in found.items() if value)
        about = duration(sum(found.values()))
        say(f"Training takes about {about} on this machine as it is now: {each}", wraps=True)
    return found


def ending(made: Iterable[str], catalog: Catalog) -> str:
    """Write the last lines: what a run has made, the figure that matters, and where it is."""
    made = set(made)
    if not made:
        return NOTHING_MADE
    if "report" in made:
        return f"Report: {_path(catalog, 'report')}"
    lines = [
        line
        for kind, tell in _KINDS.items()
        for name in sorted(made)
        if name.rpartition(".")[2] == kind and (line := tell(name, catalog))
    ]
    if "index" in made or "statistics" in made:
        lines.insert(0, f"Data: {of_data(catalog.load('statistics'))}: {_path(catalog, 'index')}")
    if "quarantine" in made and (left_out := len(catalog.load("quarantine"))):
        lines.append(f"Not used: {count(left_out, 'file')}, with reasons: {_path(catalog, 'quarantine')}")
    return "\n".join(lines or [f"Made {name}: {_path(catalog, name)}" for name in sorted(made)])


def _evaluated(name: str, catalog: Catalog) -> str:
    strategy = name.rpartition(".")[0]
    if not strategy:
        return ""
    metrics, decides = catalog.load(name), catalog.load("params:report.metric")
    values = metrics.loc[(metrics["metric"] == decides) & (metrics["split"] == "test"), "value"]
    told = f"test {title(decides)} {number(values.mean(), decides)}, {count(len(values), 'trial')}"
    return f"{capital(title(strategy))}: {told}: {_path(catalog, name)}"


def _trained(name: str, catalog: Catalog) -> str:
    strategy, trials = name.rpartition(".")[0], count(len(catalog.load(name)), "trial")
    return f"{capital(title(strategy))}: {trials} trained: {_path(catalog, name)}"


def _predicted(name: str, catalog: Catalog) -> str:
    if name != "predictions":
        return ""
    found = catalog.load(name)
    refused = int(found["prediction"].isna().sum())
    told = f"{count(len(found), 'image')} found: {count(len(found) - refused)} predicted, {count(refused)} refused"
    return f"Predictions: {told}: {_path(catalog, name)}"


def _drawn(name: str, catalog: Catalog) -> str:
    return f"Contact sheet: {_path(catalog, name)}"


def _shown(name: str, catalog: Catalog) -> str:
    return f"Page: {_path(catalog, name)}"


def _extrapolated(name: str, catalog: Catalog) -> str:
    from transferlab.reporting.learning_curve import sentences

    fits, crossings = (catalog.load(table) for table in ("learning_curve_fits", "learning_curve_crossings"))
    return "\n".join([*sentences(fits, crossings), f"Learning curves: {_path(catalog, name)}"])


def _compared(name: str, catalog: Catalog) -> str:
    return f"Comparison: {_path(catalog, name)}"


_KINDS: dict[str, Callable[[str, Catalog], str]] = {
    "checkpoints": _trained,
    "metrics": _evaluated,
    "comparison": _compared,
    "predictions": _predicted,
    "figure_contact_sheet": _drawn,
    "predictions_page": _shown,
    "learning_curve_page": _extrapolated,
}


def _path(catalog: Catalog, name: str) -> str:
    dataset = catalog.get(name)
    return str(dataset.load_path) if isinstance(dataset, WholeDataset) else "in memory"
