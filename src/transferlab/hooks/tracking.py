"""Logs a whole run to MLflow: a run with a child for each strategy, which has one for each trial.

Nothing is logged while nodes work, so a run that is killed leaves nothing there. A run is known by what it depends on:
its parameters and the fingerprints of its trials. One that is repeated is found by that tag and not logged again, nor
are its children; one that was torn while it was logged is deleted with its children and logged anew.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from kedro.io import DataCatalog

from transferlab.config.schema import Tracking
from transferlab.console.terminal import say
from transferlab.core.errors import MendableError
from transferlab.core.files.hashing import sha256_of_json
from transferlab.reporting.verdict import verdict
from transferlab.versions.catalogue import of_catalog

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY, PLACE, WHOLE = "transferlab.key", "transferlab.place", "(run)"
_TABLES = ("history", "metrics", "cost", "comparison", "differences")
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # or MLflow's page shows it as one of language models
# Of a strategy: the interval over trials and test images, which the report shows.
_INTERVAL = {"mean": "mean", "low": "low_images", "high": "high_images"}
# Columns of the table `cost` that were measured; the others say on what.
_MEASURED = ("seconds", "feature_seconds", "feature_mb", "seconds_per_epoch", "images_per_second", "peak_memory_mb")
_MOST_PARAMS, _MOST_METRICS, _MOST_RUNS = 100, 1000, 10_000  # of one request
_LONGEST_PARAM, _LONGEST_TAG, _LONGEST_NAME = 6000, 5000, 250  # letters
# What MLflow refuses in names (on Windows also the colon), and the beginning of what stands for such a sign.
_NOT_IN_NAMES = re.compile(r"[^\w\-. ]|_(?=x[0-9a-f])|^\.(?=\.?$)")


class TrackingError(MendableError):
    """A run that cannot be logged."""


def log_run(catalog: DataCatalog, tracking: Tracking, run_id: str) -> None:
    """Log a run that has made everything up to the report, unless it is logged already.

    Raises:
        TrackingError: MLflow is not installed, or cannot be used.
    """
    experiment = catalog.load("experiment")
    tables = {name: catalog.load(name) for name in _TABLES}
    strategies = list(dict.fromkeys(tables["metrics"]["strategy"]))
    used = catalog.load("parameters_used").of(run_id)
    fingerprints = {name: catalog.load(f"{name}.fingerprints") for name in strategies}
    key = sha256_of_json([experiment, _asked(used), fingerprints])[:32]
    with _client(tracking.mlflow) as client:
        log = _Log(client, tracking.experiment or experiment, {KEY: key, "transferlab.version": run_id})
        is_new = not log.has_whole_run()
        if is_new:
            folders = of_catalog(catalog).folders[run_id]
            with log.run(experiment, None) as run:
                log.params(run, used)
                log.tag(run, "mlflow.note.content", _answer(tables))
                log.metrics(run, _decisive(tables["comparison"]))
                log.files(run, folders, [*_TABLES, "report", "parameters_used"], "")
                log.files(run, folders, [name for name in folders if name.startswith("figure_")], "figures")
                for name in strategies:
                    stored = catalog.load(f"{name}.checkpoints") if tracking.checkpoints else {}
                    own = {kind: table[table["strategy"] == name] for kind, table in tables.items()}
                    _log_strategy(log, run, (name, used["strategies"].get(name, {})), own, stored, folders)
    say(f"{'Logged' if is_new else 'Logged already'}: {experiment} in {tracking.mlflow}")


def _asked(used: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that decide what is logged; of `training` that is in the fingerprints."""
    report = {key: value for key, value in used["report"].items() if key != "publish"}
    return {"dataset": used["dataset"], "strategies": used["strategies"], "report": report}


def _answer(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return the verdict, as MLflow shows it beside a run."""
    found = verdict(tables["comparison"], tables["differences"], tables["cost"])
    return "\n\n".join([f"**{found.headline}**", *found.sentences])


def _decisive(comparison: pd.DataFrame) -> list[tuple[str, float, int]]:
    """Return each strategy's mean of the metric that decides, by which whole runs can be compared."""
    rows = comparison[comparison["decides"]].to_dict("records")
    return [(f"{row['metric']}/{row['strategy']}", row["mean"], 0) for row in rows]


def _log_strategy(
    log: _Log,
    parent: str,
    strategy: tuple[str, Mapping[str, Any]],
    tables: Mapping[str, pd.DataFrame],
    stored: Any,
    folders: Mapping[str, Path],
) -> None:
    """Log a strategy (its name and parameters) and its trials, given its rows and checkpoints."""
    name, parameters = strategy
    with log.run(name, parent) as run:
        log.params(run, parameters)
        rows = tables["comparison"].to_dict("records")
        log.metrics(run, [(f"{row['metric']}/{part}", row[key], 0) for row in rows for part, key in _INTERVAL.items()])
        log.files(run, folders, [each for each in folders if each.startswith(f"{name}.figure_")], "figures")
        for trial in sorted(set(tables["cost"]["trial"])):
            own = {kind: table[table["trial"] == trial] for kind, table in tables.items() if "trial" in table}
            with log.run(f"{name}, trial {trial + 1}", run) as child:
                cost = own["cost"].iloc[0].to_dict()
                log.params(child, {key: cost[key] for key in cost if key not in _MEASURED} | {"trial": trial + 1})
                costs = [(f"cost/{key}", cost[key], 0) for key in _MEASURED]
                log.metrics(child, [*_curves(own["history"]), *_figures(own["metrics"]), *costs])
                if trial in set(stored):
                    for file in stored.files(trial):
                        log.file(child, file, "checkpoints")


def _curves(history: pd.DataFrame) -> Iterator[tuple[str, float, int]]:
    """Yield loss, accuracy and learning rate by epoch."""
    for row in history.to_dict("records"):
        for column in ("loss", "accuracy"):
            yield f"{row['split']}/{column}", row[column], row["epoch"]
        if row["split"] == "train":
            yield "learning_rate", row["learning_rate"], row["epoch"]


def _figures(metrics: pd.DataFrame) -> Iterator[tuple[str, float, int]]:
    """Yield what the trial's checkpoint measured."""
    for row in metrics.to_dict("records"):
        yield f"measured/{row['split']}/{row['metric']}", row["value"], 0


@contextmanager
def _client(uri: str) -> Iterator[MlflowClient]:
    if importlib.util.find_spec("mlflow") is None:
        raise TrackingError(
            "tracking.mlflow needs the package mlflow-skinny: install the extra `mlflow`, e.g. `uv sync --extra "
            "mlflow` or `pip install 'transferlab[mlflow]'`"
        )
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        yield MlflowClient(tracking_uri=uri)
    except (MlflowException, ImportError) as error:
        told = str(error).splitlines()[0]
        raise TrackingError(
            f"tracking.mlflow: {uri!r} cannot be used: {told}. Correct it, or start the server"
        ) from error


class _Log:
    """An experiment of MLflow, and the tags of our run and its children in it."""

    def __init__(self, client: MlflowClient, experiment: str, tags: dict[str, str]) -> None:
        self._client, self._tags = client, tags
        found = client.get_experiment_by_name(experiment)
        self._experiment = found.experiment_id if found else client.create_experiment(experiment, tags=_KIND)

    def has_whole_run(self) -> bool:
        """Tell whether our run is logged to its end; remove one that is not, with its children."""
        mine = self._client.search_runs(
            [self._experiment], f"tags.`{KEY}` = '{self._tags[KEY]}'", max_results=_MOST_RUNS
        )
        if any(run.data.tags[PLACE] == WHOLE and run.info.status == "FINISHED" for run in mine):
            return True
        for run in mine:
            self._client.delete_run(run.info.run_id)
        return False

    @contextmanager
    def run(self, name: str, parent: str | None) -> Iterator[str]:
        """Give the id of a new run, which is finished when the block ends without an error."""
        tags = {**self._tags, PLACE: name if parent else WHOLE, **({"mlflow.parentRunId": parent} if parent else {})}
        found = self._client.create_run(self._experiment, tags=tags, run_name=name).info.run_id
        try:
            yield found
        except BaseException:
            self._client.set_terminated(found, "FAILED")
            raise
        self._client.set_terminated(found, "FINISHED")

    def params(self, run: str, values: Mapping[str, Any]) -> None:
        """Log nested parameters by dotted names."""
        from mlflow.entities import Param

        params = [Param(_name(key), str(value)[:_LONGEST_PARAM]) for key, value in _flat(values)]
        for some in _parts(params, _MOST_PARAMS):
            self._client.log_batch(run, params=some)

    def metrics(self, run: str, values: Sequence[tuple[str, float, int]]) -> None:
        """Log names, values and steps; what is missing has no value."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(_name(*name.split("/")), float(value), now, int(step))
            for name, value, step in values
            if not math.isnan(value)
        ]
        for some in _parts(metrics, _MOST_METRICS):
            self._client.log_batch(run, metrics=some)

    def tag(self, run: str, name: str, text: str) -> None:
        """Log a text."""
        self._client.set_tag(run, name, text[:_LONGEST_TAG])

    def files(self, run: str, folders: Mapping[str, Path], names: Sequence[str], to: str) -> None:
        """Log the files of datasets, of those that this run has saved."""
        for name in names:
            for file in sorted(folders[name].iterdir()) if name in folders else []:
                self.file(run, file, to)

    def file(self, run: str, file: Path, to: str) -> None:
        """Log a file."""
        self._client.log_artifact(run, str(file), to or None)


def _name(*parts: str) -> str:
    """Return a name that MLflow takes, another one for every other text: `glass (b)` is `glass _x28_b_x29_`."""
    escaped = "/".join(_NOT_IN_NAMES.sub(lambda sign: f"_x{ord(sign[0]):x}_", part) for part in parts)
    if len(escaped) <= _LONGEST_NAME:
        return escaped
    digest = sha256_of_json(parts)[:16]
    return f"{escaped[: _LONGEST_NAME - len(digest) - 1]}-{digest}"


def _flat(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        pairs: Sequence[tuple[Any, Any]] = list(value.items())
    elif isinstance(value, list | tuple):
        pairs = list(enumerate(value))
    else:
        yield at, value
        return
    for key, inner in pairs:
        yield from _flat(inner, f"{at}.{key}" if at else str(key))


def _parts(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
