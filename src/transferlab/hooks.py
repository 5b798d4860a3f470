"""What happens around a run: validation before any work, the run's id in the catalog, errors in a user's words."""

from __future__ import annotations

import logging

from kedro.framework.cli.utils import KedroCliError
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline.node import Node

from transferlab.config_loader import ExperimentConfigLoader
from transferlab.core.backbones.files import WeightsError
from transferlab.core.build import BuildError
from transferlab.core.download import SourceError
from transferlab.core.engine import DivergedError
from transferlab.core.extract import ExtractError
from transferlab.core.listing import LayoutError
from transferlab.core.split import SplitError

logger = logging.getLogger(__name__)

# Errors that are the user's to mend: their message is the whole story, a traceback would bury it.
USER_ERRORS = (
    BuildError,
    DivergedError,
    ExtractError,
    LayoutError,
    SourceError,
    SplitError,
    WeightsError,
)


class ProjectHooks:
    """The project's hooks."""

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog, save_version: str | None) -> None:
        """Give nodes the run's id (the version under which this session saves) and the experiment's name."""
        catalog["run_id"] = MemoryDataset(save_version or "interactive")
        catalog["experiment"] = MemoryDataset(ExperimentConfigLoader.current().experiment_name)

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Check the whole experiment before any node runs.

        Raises:
            ConfigError: with every problem of the parameters.
        """
        ExperimentConfigLoader.current().experiment(deep=True)

    @hook_impl
    def on_node_error(self, error: Exception, node: Node) -> None:
        """Say what a user can mend without a traceback (`kedro --verbose run` still shows it)."""
        if isinstance(error, USER_ERRORS):
            raise KedroCliError(f"{node.name}: {error}") from error
