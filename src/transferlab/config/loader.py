"""The configuration loader: Kedro's own, which remembers itself so that the pipeline registry can read the strategies.

A second loader made in the registry would not see `--env` or `--params`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.project import settings
from omegaconf.errors import OmegaConfBaseException

from transferlab.config.parse import ConfigError, read_experiment
from transferlab.config.schema import Experiment
from transferlab.console.errors import UserError


class ExperimentConfigLoader(OmegaConfigLoader):
    """`OmegaConfigLoader` with a resolver `${experiment:}`: the name of the environment, hence of the experiment."""

    _current: ClassVar[ExperimentConfigLoader | None] = None
    _reading: ClassVar[ExperimentConfigLoader]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Kedro registers a resolver once in a process, whatever later loaders bring along.
        resolvers = {"experiment": lambda: ExperimentConfigLoader._reading.experiment_name}
        super().__init__(*args, custom_resolvers=resolvers, **kwargs)
        _check_environment(Path(self.conf_source), self.experiment_name)
        ExperimentConfigLoader._current = self

    def __getitem__(self, key: str) -> dict[str, Any]:
        """The merged parameters, catalog, ... of the environment in use.

        Raises:
            ConfigError: a file is no YAML, or refers to what is not there; the message says where.
            MissingConfigException, KeyError: there is no such file: Kedro asks for some that need not be there.
        """
        ExperimentConfigLoader._reading = self
        try:
            return super().__getitem__(key)
        except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError, AttributeError, ValueError) as error:
            raise ConfigError(f"conf/{self.experiment_name}: the {key} cannot be read: {_reason(error)}") from error

    @classmethod
    def current(cls) -> ExperimentConfigLoader:
        """The loader of the session; commands without one (`kedro registry list`) get that of the working directory."""
        if cls._current is None:
            source = Path.cwd() / settings.CONF_SOURCE
            cls(conf_source=str(source), env=os.environ.get("KEDRO_ENV"), **settings.CONFIG_LOADER_ARGS)
        assert cls._current is not None  # noqa: S101 - set by __init__
        return cls._current

    @property
    def experiment_name(self) -> str:
        """The environment in use."""
        return str(self.env or self.default_run_env)

    def experiment(self, deep: bool = False) -> Experiment:
        """The typed parameters of the environment in use.

        Raises:
            ConfigError: they cannot be run; see `transferlab.config.schema.read_experiment`.
        """
        return read_experiment(self["parameters"], self.experiment_name, deep)


def _reason(error: Exception) -> str:
    origin = error.__cause__ or error  # Kedro's own error hides the parser's
    if isinstance(origin, yaml.MarkedYAMLError) and origin.problem_mark:
        return f"line {origin.problem_mark.line + 1}: {origin.problem}"
    if isinstance(error, AttributeError):
        return "a file must hold keys with values, not a list"
    return ", ".join(line.strip() for line in str(error).splitlines() if "object_type" not in line)


def _check_environment(conf: Path, name: str) -> None:
    """Raise `UserError` where an environment has no folder in `conf` (which may be an archive: then Kedro looks)."""
    if conf.is_dir() and not (conf / name).is_dir():
        known = sorted({folder.name for folder in conf.iterdir() if folder.is_dir()} - {"base", "local"})
        raise UserError(f"--env={name}: there is no {conf / name}; experiments are {', '.join(known)}")
