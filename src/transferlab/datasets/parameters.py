"""The parameters that a run was made with, as a YAML file that could be an experiment's `parameters.yml`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from transferlab.core.files.atomic import whole_file
from transferlab.datasets.atomic import DamagedError, WholeDataset

# A key that begins with `_` is for YAML alone, so a file that has it is still one of parameters.
_OVERRIDES = "_overrides"
_ABOUT = f"# The parameters of a run, resolved. {_OVERRIDES} lists those that --params gave.\n"


class ParametersDataset(WholeDataset[dict[str, Any], "UsedParameters"]):
    """All parameters of a run. Loads as those of every run, since a report shows the results of several."""

    def save(self, data: dict[str, Any]) -> None:
        """Write YAML, whole or not at all."""
        text = _ABOUT + yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        with self.claimed() as target, whole_file(target) as file:
            file.write(text.encode())

    def load(self) -> UsedParameters:
        """Return the parameters of all versions, none of them read yet."""
        return UsedParameters(self)


@dataclass(frozen=True)
class UsedParameters:
    """The parameters of every run of an experiment, each read when asked for."""

    dataset: ParametersDataset

    def of(self, version: str) -> dict[str, Any]:
        """Return the parameters of a run; none of one that kept none.

        Raises:
            DamagedError: the file holds something else.
        """
        path = self.dataset.path_of(version)
        if not path.is_file():
            return {}
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise DamagedError(f"{path} is no YAML ({error}): restore a copy of it, or remove it") from error
        if not isinstance(found, dict):
            raise DamagedError(f"{path} holds no parameters: restore a copy of it, or remove it")
        return found

    def overrides(self, version: str) -> list[str]:
        """Return what the command line of a run changed, each as `key=value`."""
        return list(map(str, self.of(version).get(_OVERRIDES) or []))


def used(parameters: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run keeps of its parameters.

    Args:
        parameters: merged and resolved. Keys that begin with `_` are left out: they are resolved where they are used.
        overrides: those of them that the command line gave, nested.
    """
    public = {key: value for key, value in parameters.items() if not str(key).startswith("_")}
    return {**public, _OVERRIDES: list(_dotted(overrides))}


def _dotted(overrides: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in overrides.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{above}{key}.")
        else:
            yield f"{above}{key}={_shown(value)}"


def _shown(value: Any) -> str:
    """Write a value on one line, as YAML does."""
    value = json.loads(json.dumps(value, default=str))  # Python code may give a path or a tuple
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6).removesuffix("...\n").strip()
