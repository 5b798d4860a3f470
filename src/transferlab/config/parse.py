"""Parses blocks of parameters into their types; what is wrong becomes one `ConfigError`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from transferlab.config.checks import conflicts, misfits
from transferlab.config.messages import problems_in
from transferlab.config.schema import Experiment, _Strict
from transferlab.console.errors import UserError
from transferlab.core.validation import Problem

T = TypeVar("T")


class _Box(_Strict, Generic[T]):
    """Any type as a field: so a dataclass of the core is parsed by the rules of the models it stands in."""

    value: T


class ConfigError(UserError):
    """Parameters that cannot be run; the message lists every problem as `dotted.key: value - what to do`."""


def read(kind: type[T], value: Any, at: str = "") -> T:
    """Parse a block of parameters, given as YAML gave it, into its type.

    Args:
        kind: a model of this module or a dataclass of the core.
        value: the block.
        at: its dotted key, for messages.

    Raises:
        ConfigError: something is wrong with it.
    """
    # Through JSON, since a strict tuple takes no Python list, but every JSON array.
    text = json.dumps({"value": value}, default=str)
    value = json.loads(text)["value"]
    try:
        return _Box[kind].model_validate_json(text).value  # type: ignore[valid-type]
    except ValidationError as error:
        raise ConfigError(render(at, problems_in(kind, value, error))) from None


def read_experiment(parameters: Mapping[str, Any], environment: str, deep: bool = False) -> Experiment:
    """Parse and check an experiment.

    Args:
        parameters: the merged parameters of the environment; keys that begin with `_` are for YAML interpolation only.
        environment: its name, for messages.
        deep: also make every network (without memory) and try its policies and input size on it.

    Raises:
        ConfigError: with all problems found.
    """
    where = f"conf/{environment}/parameters.yml"
    public = {key: value for key, value in parameters.items() if not str(key).startswith("_")}
    experiment = read(Experiment, public, where)
    problems = [*conflicts(experiment), *(misfits(experiment) if deep else ())]
    if problems:
        raise ConfigError(render(where, problems))
    return experiment


def render(where: str, problems: list[Problem]) -> str:
    """The message of a `ConfigError`."""
    count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = [f"  {p.field}: {_shown(p.value)} - {p.message}" for p in problems]
    return "\n".join([f"{where}: {count}", *lines])


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
