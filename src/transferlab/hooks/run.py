"""What happens around a run: validation before any work, errors in a user's words, the answer at the end."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from transferlab.config.loader import ExperimentConfigLoader
from transferlab.console.errors import UserError, of_the_system
from transferlab.console.terminal import console
from transferlab.core.errors import MendableError
from transferlab.core.runtime import interrupt
from transferlab.datasets.atomic import WholeDataset
from transferlab.datasets.folders import UnfinishedTrials
from transferlab.datasets.runs import Run, RunsDataset
from transferlab.reporting.run_table import comparison_table

logger = logging.getLogger(__name__)


class ProjectHooks:
    """The project's hooks."""

    _pipeline: ClassVar[Pipeline] = Pipeline([])
    _catalog: ClassVar[DataCatalog] = DataCatalog()
    _run: ClassVar[Run | None] = None
    _saved: ClassVar[set[str]] = set()

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog, save_version: str | None) -> None:
        """Give nodes the run's id (the version under which this session saves) and the experiment's name."""
        catalog["run_id"] = MemoryDataset(save_version or "interactive")
        catalog["experiment"] = MemoryDataset(ExperimentConfigLoader.current().experiment_name)

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Check the whole experiment before any node runs, and remove what killed runs left unfinished.

        Raises:
            ConfigError: with every problem of the parameters.
            UserError: the runner would mix the strategies' random numbers, or another run saves the same version.
        """
        if "ThreadRunner" in str(run_params["runner"]):
            raise UserError(
                "--runner=ThreadRunner: strategies trained in threads draw from the same random numbers (torch has one "
                "generator per process), so no run could be repeated; leave it out, or take ParallelRunner"
            )
        ExperimentConfigLoader.current().experiment(deep=True)
        ProjectHooks._pipeline, ProjectHooks._catalog, ProjectHooks._saved = pipeline, catalog, set()
        for name in sorted(pipeline.datasets()):
            if isinstance(dataset := catalog.get(name), WholeDataset):
                dataset.sweep()
        try:
            if isinstance(runs := catalog.get("runs"), RunsDataset):
                ProjectHooks._run = runs.begin(run_params["run_id"])
        except (DatasetError, OSError) as error:
            raise UserError(_told(error)) from error

    @hook_impl
    def before_dataset_loaded(self) -> None:
        """Stop here if the run was asked to stop: a worker of ParallelRunner goes on with its next node otherwise."""
        interrupt.check()

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Remember how far the run has come."""
        self._saved.add(dataset_name)

    @hook_impl
    def on_node_error(self, error: Exception, node: Node) -> None:
        """Say what a user can mend without a traceback (`kedro run --verbose` shows it).

        Raises:
            UserError: for errors that are the user's to mend; others go on as they are.
        """
        if isinstance(error, (MendableError, UserError)):
            raise UserError(f"{node.name}: {error}{self.how_to_go_on()}") from error
        if isinstance(error, OSError) and error.errno:
            raise UserError(f"{node.name}: {of_the_system(error)}{self.how_to_go_on()}") from error
        logger.error("%s failed.%s", node.name, self.how_to_go_on())

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Say what a dataset that cannot be loaded or saved says of itself.

        Raises:
            UserError: for such a dataset.
        """
        self._end(is_whole=False)
        if isinstance(error, DatasetError) and isinstance(_origin(error), (DatasetError, OSError, MendableError)):
            raise UserError(f"{_told(error)}{self.how_to_go_on()}") from error

    @hook_impl
    def after_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Print the comparison and where the report is, when this run made them."""
        self._end(is_whole=True)
        ends = {name: catalog[name] for name in ("comparison", "report") if name in pipeline.all_outputs()}
        made = {name: end for name, end in ends.items() if _is_of(end, run_params["run_id"])}
        if "comparison" in made:
            tables = (catalog.load(name) for name in ("comparison", "differences", "cost"))
            console.print(comparison_table(*tables))
        if isinstance(page := made.get("report"), WholeDataset):
            console.print(f"Report: {page.load_path}", soft_wrap=True, highlight=False)

    @classmethod
    def _end(cls, is_whole: bool) -> None:
        if cls._run:
            cls._run.end(is_whole)
        cls._run = None

    @classmethod
    def how_to_go_on(cls) -> str:
        """What to add to the command so that it does what the run has not done, and where training goes on."""
        todo = {node for node in cls._pipeline.nodes if not set(node.outputs) <= cls._saved}
        first = sorted(node.name for node in todo if not cls._pipeline.node_dependencies[node] & todo)
        begun = ", ".join(where for node in sorted(todo) if (where := cls._begun(node)))
        how = f"add --from-nodes={','.join(first)}" if cls._saved and first else "run it again" if begun else ""
        training = f": training goes on after {begun}" if begun else ""
        return f"\nTo go on from there, {how}{training}" if how else ""

    @classmethod
    def _begun(cls, node: Node) -> str:
        """How far a training node has come, such as `epoch 3 of trial 2 (scratch)`; empty where it has no state."""
        for dataset in map(cls._catalog.get, node.confirms):
            if isinstance(dataset, UnfinishedTrials) and (at := dataset.progress()):
                return f"epoch {at.epoch} of trial {at.trial + 1} ({node.namespace})"
        return ""


def _is_of(dataset: Any, run_id: str) -> bool:
    """Whether a dataset's data were saved by this run (`--only-missing-outputs` may have had nothing to do)."""
    return isinstance(dataset, WholeDataset) and dataset.exists() and dataset.resolve_load_version() == run_id


def _told(error: DatasetError | OSError) -> str:
    """What a user needs to know of it: of what it came from, where that tells all, and not what Kedro makes of it."""
    origin = _origin(error)
    if isinstance(origin, MendableError):
        return str(origin)
    if isinstance(origin, OSError) and origin.errno and not isinstance(origin, NotADirectoryError):
        return of_the_system(origin)
    return str(error)


def _origin(error: BaseException) -> BaseException:
    """The first of a chain of errors."""
    return _origin(error.__cause__) if error.__cause__ else error
