"""Hooks around a run: validation before any work, errors in a user's words, the answer at the end."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, DataCatalog, DatasetError, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from transferlab.config.context import ExperimentContext
from transferlab.console import progress
from transferlab.console.errors import AlreadyDone, UserError, explanation, is_explained, of_the_system
from transferlab.console.terminal import console, say
from transferlab.core.errors import MendableError
from transferlab.core.files.folders import remove
from transferlab.core.runtime import interrupt
from transferlab.datasets.parameters import ParametersDataset, used
from transferlab.datasets.runs import RunsDataset
from transferlab.hooks import summary
from transferlab.hooks.under_way import UnderWay, stored

logger = logging.getLogger(__name__)


class ProjectHooks:
    """The project's hooks. All they remember is the run under way, and its context."""

    def __init__(self) -> None:
        self._context: KedroContext | None = None
        self._run = UnderWay()
        self._expects_run = self._expects_whole_run = False
        self._announced: KedroContext | None = None

    def expect_run(self, is_whole: bool = False) -> None:
        """Take the context that is made next for that of a run, so that its first line need not wait for its nodes.

        The line of one of all nodes (`is_whole`) says what will be trained. Such a run ends there if all that it would
        make is there.
        """
        self._expects_run, self._expects_whole_run = True, is_whole

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember whose run may begin; where one is expected, say so: seconds pass until its nodes are imported.

        Raises:
            AlreadyDone: a whole run has nothing to do; says what is there.
        """
        self._context = context
        expects_run, is_whole = self._expects_run, self._expects_whole_run
        self._expects_run = self._expects_whole_run = False
        if expects_run and isinstance(context, ExperimentContext):
            self._announce(context, is_whole)
            if is_whole:
                self._end_if_unchanged(context)

    def _end_if_unchanged(self, context: ExperimentContext) -> None:
        from transferlab.hooks.whole_run import unchanged  # it loads pandas, which --help need not

        if run_id := unchanged(context):
            say(summary.nothing_changed(run_id), wraps=True)
            _say_answer({"comparison", "report"}, context.catalog)
            raise AlreadyDone

    def _announce(self, context: ExperimentContext, trains_all: bool) -> None:
        """Say the first line of a run, once."""
        if self._announced is not context:
            self._announced = context
            say(summary.beginning(context.config_loader, trains_all), wraps=True)

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog, save_version: str | None) -> None:
        """Give nodes the run's id: the version under which this session saves."""
        catalog["run_id"] = MemoryDataset(save_version or "interactive")

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Check the whole experiment before any node runs, and remove what killed runs left unfinished.

        Raises:
            ConfigError: with every problem of the parameters.
            UserError: the runner would mix the strategies' random numbers, or another run saves the same version.
        """
        self._check_runner(str(run_params["runner"]))
        self._run = UnderWay(pipeline, catalog, catalog.load("run_id"), catalog.load("experiment"))
        if "versions" in pipeline.inputs():
            from transferlab.versions.catalogue import of_catalog  # it loads SciPy, which --help need not

            catalog["versions"] = MemoryDataset(of_catalog(catalog), copy_mode="assign")
        if isinstance(self._context, ExperimentContext):
            experiment = self._context.config_loader.experiment
            every = {f"{name}.checkpoints" for name in experiment.strategies}
            self._announce(self._context, trains_all=every <= pipeline.all_outputs())
            progress.expect(progress.Plan(lambda: summary.expected(experiment, pipeline, catalog)))
            if any(name.startswith("params:strategies") for name in pipeline.inputs()):
                from transferlab.config.parse import check_networks  # it loads torch, which other nodes need not

                check_networks(experiment, self._run.env)
        for dataset in stored(pipeline.datasets(), catalog):
            dataset.sweep()
        try:
            if isinstance(runs := catalog.get("runs"), RunsDataset):
                self._run.mark = runs.begin(self._run.run_id)
            self._keep_parameters()
        except (DatasetError, OSError) as error:
            raise UserError(explanation(error)) from error
        progress.loaded()

    def _check_runner(self, runner: str) -> None:
        """Check that the runner can run what the parameters ask for.

        Raises:
            UserError: it cannot.
        """
        if "ThreadRunner" in runner:
            raise UserError(
                "--runner=ThreadRunner: strategies trained in threads draw from the same random numbers (torch has one "
                "generator per process), so no run could be repeated; leave it out, or take ParallelRunner"
            )
        experiment = self._context.config_loader.experiment if isinstance(self._context, ExperimentContext) else None
        if experiment and experiment.training.compute.launcher == "ray" and "ParallelRunner" in runner:
            raise UserError(
                "--runner=ParallelRunner: with training.compute.launcher: ray the trials of all strategies train at "
                "the same time already, in one queue, which processes cannot share; leave it out"
            )

    @hook_impl
    def before_dataset_loaded(self, dataset_name: str) -> None:
        """Stop here if the run was asked to stop: a worker of ParallelRunner goes on with its next node otherwise."""
        self._run.loading = dataset_name
        interrupt.check()

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        """Forget the dataset that was asked for: it is not to blame for what comes."""
        self._run.loading = ""
        if self._run.run_id:  # workers of ParallelRunner have none: each would say it
            self._say_data(dataset_name, data)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Remember how far the run has come."""
        self._run.saved.add(dataset_name)
        if dataset_name not in self._run.pipeline.outputs():  # what a run ends with, its last lines say
            self._say_data(dataset_name, data)

    def _say_data(self, dataset_name: str, data: Any) -> None:
        """Say how many classes and images there are, as soon as it is known, once."""
        if dataset_name == "statistics" and not self._run.has_said_data:
            self._run.has_said_data = True
            say(summary.of_data(data), wraps=True)

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
        """Say what a dataset that cannot be loaded or saved says of itself, and which node makes it again.

        Raises:
            UserError: for such a dataset.
        """
        self._end(is_whole=False)
        if isinstance(error, DatasetError) and is_explained(error):
            raise UserError(f"{explanation(error)}{self._run.maker()}{self.how_to_go_on()}") from error

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Say what the run has made: the comparison, the figure that matters, and where it is."""
        self._end(is_whole=True)
        _say_answer({name for name in self._run.pipeline.all_outputs() if self._run.has_made(name)}, self._run.catalog)

    def _keep_parameters(self) -> None:
        """Save the parameters of the run under its version: results must say what made them."""
        dataset = self._run.catalog.get("parameters_used")
        if isinstance(self._context, ExperimentContext) and isinstance(dataset, ParametersDataset):
            loader = self._context.config_loader
            dataset.save(used(loader["parameters"], loader.runtime_params or {}))

    def _end(self, is_whole: bool) -> None:
        """Note that the run has ended. One that saved no version of anything leaves no parameters either."""
        with suppress(OSError):  # the error that ended the run matters more than a small file that stays
            self._drop_parameters_of_nothing()
        if self._run.mark:
            self._run.mark.end(is_whole)
        self._run.mark = None

    def _drop_parameters_of_nothing(self) -> None:
        parameters, run_id = self._run.catalog.get("parameters_used"), self._run.run_id
        outputs = stored(self._run.pipeline.all_outputs(), self._run.catalog)
        has_version = any(each.path_of(run_id).exists() for each in outputs)
        if isinstance(parameters, ParametersDataset) and not has_version:
            remove(parameters.path_of(run_id).parent)

    def how_to_go_on(self) -> str:
        """Say what to add to the command so that it does what the run has not done, and where training goes on."""
        try:
            return self._run.how_to_go_on()
        except Exception:  # a hint must not take the place of the error that it is for
            logger.debug("no hint how to go on", exc_info=True)
            return ""


def _say_answer(made: set[str], catalog: CatalogProtocol[Any, Any]) -> None:
    """Say what a run has made: the comparison, the figure that matters, and where it is."""
    if "comparison" in made:
        from transferlab.reporting.run_table import comparison_table  # it loads SciPy, which --help need not

        comparison, differences, cost = map(catalog.load, ("comparison", "differences", "cost"))
        say(comparison_table(comparison, differences, cost, console.width))
    say(summary.ending(made, catalog))
