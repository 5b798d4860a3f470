"""Hooks after a whole run: publish and log it where conf asks for that, and keep what it was made from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from transferlab.config.context import ExperimentContext
from transferlab.console.errors import UserError, explained
from transferlab.console.terminal import say
from transferlab.datasets.atomic import WholeDataset


class FollowUpHooks:
    """Publish and log what a run has made, once all of it is saved, and keep what it was made from."""

    def __init__(self) -> None:
        self._context: KedroContext | None = None
        self._made_from: dict[str, Any] | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember whose run may end."""
        self._context = context

    @hook_impl(trylast=True)  # when it is checked
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline) -> None:
        """Remember what a whole run is made from."""
        from transferlab.hooks.whole_run import begun  # it loads pandas, which --help need not

        context = self._context
        self._made_from = begun(context, pipeline, run_params) if isinstance(context, ExperimentContext) else None

    @hook_impl(trylast=True)
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Publish and log a run that has made the report, and keep what it was made from; no other is whole.

        Raises:
            UserError: it cannot be published or logged; says how to do so without training again.
        """
        report = catalog.get("report") if "report" in pipeline.all_outputs() else None
        if not (isinstance(self._context, ExperimentContext) and isinstance(report, WholeDataset)):
            return
        run_id = catalog.load("run_id")
        if not report.path_of(run_id).exists():
            return
        experiment = self._context.config_loader.experiment
        if url := experiment.report.publish:
            _or_told("published", lambda: _publish(catalog, url, run_id))
        if tracking := experiment.tracking:
            from transferlab.hooks.tracking import log_run  # it loads MLflow, which most runs need not

            _or_told("logged", lambda: log_run(catalog, tracking, run_id))
        if self._made_from:
            from transferlab.hooks.whole_run import keep

            # Last: a run that was not published is not over.
            keep(self._made_from, pipeline.all_outputs(), catalog, self._context.project_path)


def _publish(catalog: DataCatalog, url: str, run_id: str) -> None:
    from transferlab.versions.catalogue import of_catalog  # it loads SciPy, which --help need not
    from transferlab.versions.publish import publish

    for place in publish(of_catalog(catalog), url, run_id):
        say(f"Published: {place}")


def _or_told(done: str, do: Callable[[], None]) -> None:
    """Do it, or say that the run itself is whole."""
    try:
        with explained():
            do()
    except UserError as error:
        raise UserError(
            f"{error.message}\nThe run is whole and saved, but it was not {done}. Run again when that is mended: "
            "nothing is trained anew"
        ) from error
