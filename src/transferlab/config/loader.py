"""Reads an experiment's configuration: Kedro's own loader, with typed parameters and messages that name the line."""

from __future__ import annotations

import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from kedro.config import OmegaConfigLoader
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from transferlab.config.errors import ConfigError
from transferlab.console.errors import UserError
from transferlab.core.validation import did_you_mean

if TYPE_CHECKING:
    from transferlab.config.schema import Experiment

NOT_EXPERIMENTS = ("base", "local")
SHARED_DATA = ("downloads", "extracted")  # folders below data/01_raw
_WILDCARDS = "[]{}*?"


class ExperimentConfigLoader(OmegaConfigLoader):
    """`OmegaConfigLoader` with a resolver `${experiment:}`: the name of the environment, hence of the experiment."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._read = dict[tuple[str, str | None, str], dict[str, Any]]()
        super().__init__(*args, **kwargs)
        _check_path(str(self.conf_source))
        _check_environment(Path(self.conf_source), self.experiment_name)

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Return the merged parameters, catalog, ... of the environment in use, as they were when first read.

        Raises:
            ConfigError: a file is no YAML, or refers to what is not there; the message says where.
            MissingConfigException, KeyError: there is no such file: Kedro asks for some that need not be there.
        """
        wanted = key, self.env, repr(self.runtime_params)
        if key not in self and wanted in self._read:
            return copy.deepcopy(self._read[wanted])  # Kedro changes it in place
        # OmegaConf keeps resolvers for the whole process, so whichever loader reads must register its own.
        OmegaConf.register_new_resolver("experiment", lambda: self.experiment_name, replace=True)
        try:
            found = super().__getitem__(key)
        except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError, AttributeError, ValueError) as error:
            raise ConfigError(
                f"conf/{self.experiment_name}: the {key} cannot be read: {self._reason(error)}"
            ) from error
        self._read[wanted] = copy.deepcopy(found)
        return found

    @property
    def experiment_name(self) -> str:
        """The environment in use."""
        return str(self.env or self.default_run_env)

    @cached_property
    def experiment(self) -> Experiment:
        """The typed parameters of the environment in use, parsed once.

        Raises:
            ConfigError: they cannot be run; see `transferlab.config.parse.read_experiment`.
        """
        parameters = self["parameters"]
        from transferlab.config.parse import read_experiment  # seconds: what is no YAML at all need not wait for it

        return read_experiment(parameters, self.experiment_name)

    def _reason(self, error: Exception) -> str:
        origin = error.__cause__ or error  # Kedro's own error hides the parser's
        if isinstance(origin, yaml.MarkedYAMLError) and origin.problem_mark:
            number = origin.problem_mark.line
            return f"line {number + 1}: {origin.problem}{self._quoted(origin, number)}"
        if isinstance(error, AttributeError):
            return "a file must hold keys with values, not a list"
        return ", ".join(line.strip() for line in str(error).splitlines() if "object_type" not in line)

    def _quoted(self, error: yaml.MarkedYAMLError, number: int) -> str:
        """Quote the line that YAML stumbled over, from the file that raises the same error alone."""
        for file in sorted(Path(self.conf_source).glob("*/**/*.yml")):
            text = file.read_text(encoding="utf-8", errors="replace")
            try:
                OmegaConf.create(text)
            except yaml.MarkedYAMLError as found:
                if found.problem != error.problem or not found.problem_mark or found.problem_mark.line != number:
                    continue
                line = text.splitlines()[number] if number < len(text.splitlines()) else ""
                tab = (
                    "; indent with spaces: YAML takes no tab" if "\t" in line[: len(line) - len(line.lstrip())] else ""
                )
                shown = line.replace("\t", "<tab>").strip()
                return f" in {file.relative_to(Path(self.conf_source).parent)}: {shown!r}{tab}" if shown else ""
            except (OmegaConfBaseException, ValueError):
                continue
        return ""


def _check_path(conf: str) -> None:
    """Refuse a path that Kedro, which looks for files by patterns, would take for one.

    Raises:
        UserError: the path has a wildcard.
    """
    if wildcards := sorted(set(conf) & set(_WILDCARDS)):
        raise UserError(
            f"{conf}: the path has {' and '.join(map(repr, wildcards))}, which Kedro reads as part of a pattern and "
            "would find no file: rename the folder, or move the project"
        )


def _check_environment(conf: Path, name: str) -> None:
    """Check that an environment is a folder in `conf` (which may be an archive: then Kedro looks).

    Raises:
        UserError: it is none, or no experiment.
    """
    if name in NOT_EXPERIMENTS:
        raise UserError(f"--env={name}: conf/{name} holds what experiments share and is none itself")
    if name in SHARED_DATA:
        raise UserError(f"--env={name}: data/01_raw/{name} is shared by all experiments; call the experiment otherwise")
    if Path(name).name != name or "\\" in name or ":" in name or name == "..":
        raise UserError(f"--env={name}: must be the name of a folder in conf, not a path")
    if conf.is_dir() and not (conf / name).is_dir():
        known = sorted({folder.name for folder in conf.iterdir() if folder.is_dir()} - set(NOT_EXPERIMENTS))
        raise UserError(
            f"--env={name}: there is no {conf / name}; experiments are {', '.join(known)}{did_you_mean(name, known)}"
        )
