"""The versions that the runs of an experiment have saved.

A version is what one run has saved: all folders that have the run's id as their name, in whichever of the catalog's
datasets. Single nodes can be rerun, so a version may hold a part of the datasets only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from kedro.framework.project import pipelines, settings
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from transferlab.console.errors import UserError
from transferlab.core.evaluation.intervals import over_trials
from transferlab.core.files.atomic import lock
from transferlab.core.metrics import Metric
from transferlab.datasets.atomic import WholeDataset
from transferlab.datasets.folders import FolderDataset
from transferlab.datasets.gathered import each_dataset
from transferlab.datasets.parameters import ParametersDataset
from transferlab.datasets.runs import RunsDataset
from transferlab.datasets.table import TableDataset
from transferlab.reporting.wording import interval as interval_text
from transferlab.reporting.wording import number

COLUMNS = ["split", "run_id", "checkpoint_version", "metric", "value"]


@dataclass(frozen=True)
class Measured:
    """What a strategy reached by the metric that decides, on the test images; the versions of metrics and checkpoints.

    Attributes:
        strategy: its name.
        metrics: the version of its metrics.
        checkpoints: the version that they were measured on.
        mean: over trials; NaN where the metric was not measured, or cannot be.
        low: end of the 95% interval over trials.
        high: its other end.
    """

    strategy: str
    metrics: str
    checkpoints: str
    mean: float
    low: float
    high: float


def of_experiment(project: Path, env: str | None) -> Versions:
    """Return the versions of an experiment, by the catalog and the pipelines that its runs have."""
    with settings.SESSION_CLASS.create(project_path=project, env=env) as session:
        return of_catalog(session.load_context().catalog)


def of_catalog(catalog: DataCatalog) -> Versions:
    """Return the versions of the experiment whose catalog this is."""
    return Versions(catalog, pipelines["__default__"] + pipelines["predict"] + pipelines["learning_curve"])


class Versions:
    """All versions of an experiment; each part is read when it is first asked for."""

    def __init__(self, catalog: DataCatalog, pipeline: Pipeline) -> None:
        outputs = [(name, catalog.get(name), node.tags) for node in pipeline.nodes for name in node.outputs]
        made: dict[str, tuple[object, set[str]]] = {}
        for name, found, tags in outputs:
            for part, data in each_dataset(name, found):
                made.setdefault(part, (data, tags))  # by the node that saves it, not by one that gathers it
        self.datasets = {name: data for name, (data, _) in made.items() if isinstance(data, WholeDataset)}
        if isinstance(parameters := catalog.get("parameters_used"), ParametersDataset):
            self.datasets["parameters_used"] = parameters
        self.strategies = [name.removesuffix(".checkpoints") for name in made if name.endswith(".checkpoints")]
        self.runs = catalog.get("runs")
        self.image_folder, self.feature_cache = (_path(catalog.get(name)) for name in ("image_folder", "feature_cache"))
        self._name = catalog.get("experiment")
        self._metric = catalog.get("params:report.metric")
        self._tags = {name: tags for name, (_, tags) in made.items()}

    @property
    def experiment(self) -> str:
        """The experiment's name."""
        if self._name is None:
            raise KeyError("the catalog has no dataset 'experiment'")
        return str(self._name.load())

    @cached_property
    def metric(self) -> Metric:
        """The metric that decides now, whatever did when a version was made; accuracy where nothing is configured."""
        return "accuracy" if self._metric is None else self._metric.load()

    @cached_property
    def folders(self) -> dict[str, dict[str, Path]]:
        """Each version, newest first, and its folder in each dataset, in the order of the pipeline."""
        found: dict[str, dict[str, Path]] = {}
        for name, dataset in self.datasets.items():
            for version, folder in dataset.version_folders().items():
                found.setdefault(version, {})[name] = folder
        return dict(sorted(found.items(), reverse=True))

    @cached_property
    def not_ended(self) -> dict[str, bool]:
        """The runs that have not ended, and whether each is under way."""
        return self.runs.not_ended() if isinstance(self.runs, RunsDataset) else {}

    @cached_property
    def measured(self) -> list[Measured]:
        """What every strategy reached, newest first."""
        tables = [(name, *table) for name in self.strategies for table in self._tables(f"{name}.metrics")]
        found = [_measured(*table, self.metric) for table in tables]
        return sorted(found, key=lambda one: one.metrics, reverse=True)

    @cached_property
    def references(self) -> dict[str, set[str]]:
        """For each version with metrics, the versions they were gathered from and measured on."""
        found: dict[str, set[str]] = {}
        for name in ("metrics", *(f"{name}.metrics" for name in self.strategies)):
            for version, table in self._tables(name):
                found.setdefault(version, set()).update(table["run_id"], table["checkpoint_version"])
        return found

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While open, no other process removes versions: it waits, and then sees what is left."""
        if not isinstance(self.runs, RunsDataset):
            yield
            return
        file = self.runs.load() / ".prune"
        file.touch()
        with lock(file, wait=True):
            yield

    def has(self, version: str, name: str) -> bool:
        """Check whether a dataset was completely saved in a version."""
        return name in self.folders[version] and self.datasets[name].path_of(version).exists()

    def size(self, version: str) -> int:
        """Return the number of bytes on disk."""
        return sum(map(size_on_disk, self.folders[version].values()))

    def pipelines(self, version: str) -> list[str]:
        """Name the pipelines that made a version."""
        tags = {tag for name in self.folders[version] for tag in self._tags.get(name, ())}
        return [name for name in ("data", "transfer", "report", "learning_curve") if name in tags]

    def reached(self, version: str) -> dict[str, Measured | None]:
        """Return what each strategy trained or measured in a version reached; None if it was not measured."""
        trained = {name for name in self.strategies if self.has(version, f"{name}.checkpoints")}
        found: dict[str, Measured | None] = {name: None for name in self.strategies if name in trained}
        for one in reversed(self.measured):  # the newest metrics come last, and stay
            if version == (one.checkpoints if one.strategy in trained else one.metrics):
                found[one.strategy] = one
        return found

    def state(self, version: str) -> str:
        """Return `complete`, `stale` (no metrics of its checkpoints), `unfinished` or `under way`."""
        if version in self.not_ended:
            return "under way" if self.not_ended[version] else "unfinished"
        if not all(self.has(version, name) for name in self.folders[version]):
            return "unfinished"
        return "stale" if None in self.reached(version).values() else "complete"

    def overrides(self, version: str) -> list[str]:
        """Return what the command line of a version's run changed, each as `key=value`."""
        dataset = self.datasets.get("parameters_used")
        return dataset.load().overrides(version) if isinstance(dataset, ParametersDataset) else []

    def rows(self) -> list[tuple[str, str, int | str, str]]:
        """List the versions, and below each what its command line changed and its strategies.

        A row is an id, the pipelines, the size and the state, or a strategy's name, what it reached and its state.
        """
        rows: list[tuple[str, str, int | str, str]] = []
        for version in self.folders:
            rows.append((version, ", ".join(self.pipelines(version)), self.size(version), self.state(version)))
            rows += [("  --params", one, "", "") for one in self.overrides(version)]
            rows += [_row(version, name, one, self.metric) for name, one in self.reached(version).items()]
        return rows

    def _tables(self, name: str) -> Iterator[tuple[str, pd.DataFrame]]:
        """Read all versions of a table of metrics.

        Raises:
            UserError: one cannot be read.
        """
        dataset = self.datasets.get(name)
        if not isinstance(dataset, TableDataset):
            return
        for version in self.folders:
            if self.has(version, name):
                path = dataset.path_of(version)
                try:
                    table = dataset.read(path)[COLUMNS].astype({"value": float})
                    if table.empty:
                        raise ValueError("it has no rows")
                    yield version, table
                except (ValueError, KeyError) as error:
                    told = f"{path} is no table of metrics ({error}): restore a copy, or remove {path.parent}"
                    raise UserError(told) from error


def size_on_disk(folder: Path) -> int:
    """Return the number of bytes of the files in a folder; of a file that n versions have, the n-th part."""
    stats = [file.stat() for file in folder.rglob("*") if file.is_file()]
    return sum(stat.st_size // max(1, stat.st_nlink) for stat in stats)


def _path(dataset: object) -> Path | None:
    return dataset.path if isinstance(dataset, FolderDataset) else None


def _row(version: str, strategy: str, one: Measured | None, metric: Metric) -> tuple[str, str, str, str]:
    if one is None:
        return f"  {strategy}", "not measured", "", "stale"
    reached = f"{number(one.mean, metric)} {interval_text(one.low, one.high, metric)}".rstrip()
    return f"  {strategy}", reached, "", "trained" if one.checkpoints == version else "evaluated"


def _measured(strategy: str, version: str, table: pd.DataFrame, metric: Metric) -> Measured:
    values_T = table.loc[(table["metric"] == metric) & (table["split"] == "test"), "value"].to_numpy()
    mean = values_T.mean() if len(values_T) else math.nan
    return Measured(strategy, version, str(table["checkpoint_version"].iloc[0]), mean, *over_trials(values_T))
