"""Kedro's context of an experiment. It types the parameters, registers the pipelines, and keeps versions in order."""

from __future__ import annotations

import logging
import os
import re
from datetime import datetime, timedelta
from glob import iglob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.context import KedroContext
from kedro.framework.project import pipelines, settings
from kedro.io import DataCatalog

from transferlab.config.loader import ExperimentConfigLoader
from transferlab.console.errors import UserError

if TYPE_CHECKING:
    from transferlab.config.schema import Experiment

logger = logging.getLogger(__name__)

_VERSION = "%Y-%m-%dT%H.%M.%S.%fZ"
_REGISTRY = "transferlab.pipeline_registry"

# Kedro calls `register_pipelines` without an argument, so the loader that it is to read stands here. A reload of the
# project makes a second module with a second variable; it also makes the context and the registry that use that one.
_latest: ExperimentConfigLoader | None = None


class ExperimentContext(KedroContext):
    """`KedroContext` whose `params` are the typed blocks of the experiment, so that nodes get them as they are."""

    config_loader: ExperimentConfigLoader

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        global _latest
        _latest = self.config_loader
        pipelines.configure(_REGISTRY)  # those of the context before may be another experiment's

    @property
    def params(self) -> dict[str, Any]:
        """The blocks of the experiment by name; `params:strategies.<name>` is a strategy, and so on downwards.

        Raises:
            ConfigError: the parameters cannot be run.
        """
        experiment = self.config_loader.experiment
        return {name: getattr(experiment, name) for name in type(experiment).model_fields}

    def _get_catalog(
        self,
        catalog_class: type = DataCatalog,
        save_version: str | None = None,
        load_versions: dict[str, str] | None = None,
    ) -> Any:
        """Make the catalog; what it saves sorts after every version there is, whatever the clock says."""
        if save_version and (newest := self._newest_version()) >= save_version:
            later_version = _after(newest)
            logger.warning(
                "the clock says %s, but there is a version %s: was the clock set back? This run saves as %s, so that "
                "its results are the newest",
                save_version,
                newest,
                later_version,
            )
            save_version = later_version
        catalog = super()._get_catalog(catalog_class, save_version, load_versions)
        from transferlab.datasets.gathered import add_gathered  # it loads kedro_datasets, which --help need not

        add_gathered(catalog, self.config_loader.experiment.strategies)
        return catalog

    def _newest_version(self) -> str:
        """Return the newest version of any dataset of the experiment, or an empty string."""
        entries = [entry for entry in self.config_loader["catalog"].values() if entry.get("versioned")]
        found = [
            Path(folder).name
            for entry in entries
            for folder in iglob(str(self.project_path / re.sub(r"\{\w+\}", "*", entry["filepath"]) / "*"))  # noqa: PTH207
        ]
        return max(filter(_is_version, found), default="")


def _after(version: str) -> str:
    """Return the version a millisecond later.

    Raises:
        UserError: no version sorts after it.
    """
    try:
        later = datetime.strptime(version, _VERSION) + timedelta(milliseconds=1)
    except OverflowError:
        raise UserError(f"no version can be newer than {version}: rename the folder of that name below data/") from None
    return later.strftime(_VERSION)[:-4] + "Z"  # to the millisecond


def _is_version(name: str) -> bool:
    try:
        datetime.strptime(name, _VERSION)
    except ValueError:
        return False
    return True


def current_experiment() -> Experiment:
    """Return the experiment of the latest context; without one (`kedro registry list`), of the working directory.

    Raises:
        ConfigError: its parameters cannot be run.
    """
    loader = _latest
    if loader is None:
        conf = str(Path.cwd() / settings.CONF_SOURCE)
        loader = ExperimentConfigLoader(
            conf_source=conf, env=os.environ.get("KEDRO_ENV"), **settings.CONFIG_LOADER_ARGS
        )
    return loader.experiment
