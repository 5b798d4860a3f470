"""Parses an experiment's parameters into their types; everything that is wrong becomes one `ConfigError`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from transferlab.config.checks import conflicts, misfits, out_of_range
from transferlab.config.errors import ConfigError
from transferlab.config.messages import KeyProblem, nameless, problems_in
from transferlab.config.schema import Experiment, Strict
from transferlab.core.validation import Problem, did_you_mean

T = TypeVar("T")


class _Box(Strict, Generic[T]):
    """Any type as a field: so a dataclass of the core is parsed by the rules of the models it stands in."""

    value: T


def read(kind: type[T], value: Any, at: str = "") -> T:
    """Parse a block of parameters, given as YAML gave it, into its type.

    Args:
        kind: a model of `schema` or a dataclass of the core.
        value: the block.
        at: where it stands, for messages.

    Raises:
        ConfigError: something is wrong with it.
    """
    parsed, problems = _parse(kind, value)
    if problems or parsed is None:
        raise ConfigError(render(at, problems))
    return parsed


def read_experiment(parameters: Mapping[str, Any], environment: str) -> Experiment:
    """Parse and check an experiment; see `check_networks` for what only its networks can tell.

    Args:
        parameters: the merged parameters of the environment; keys that begin with `_` are for YAML interpolation only.
        environment: its name, for messages.

    Raises:
        ConfigError: with all problems found.
    """
    public = {key: value for key, value in parameters.items() if not str(key).startswith("_")}
    experiment, problems = _parse(Experiment, public)
    if experiment is not None:
        problems += [problem for problem in conflicts(experiment) if _is_news(problem, problems)]
    if problems or experiment is None:
        raise ConfigError(render(_file(environment), [_with_strategy_meant(each, public) for each in problems]))
    return experiment


def _with_strategy_meant(problem: Problem, public: Mapping[str, Any]) -> Problem:
    """Suggest a strategy's name where one has no model: a mistyped name in `--params` makes another strategy."""
    match problem.field.split("."):
        case ["strategies", name, "model"] if problem.value is None:
            others = [other for other in public["strategies"] if other != name]
            return dataclasses.replace(problem, message=problem.message + did_you_mean(name, others))
    return problem


def check_networks(experiment: Experiment, environment: str) -> None:
    """Make every network (without memory) and try its policies and input size on it.

    Raises:
        ConfigError: with every problem found.
    """
    if problems := list(misfits(experiment)):
        raise ConfigError(render(_file(environment), problems))


def _file(environment: str) -> str:
    return f"conf/{environment}/parameters.yml"


def _parse(kind: type[T], value: Any) -> tuple[T | None, list[Problem]]:
    """Parse a block; then again without what is wrong, so that one wrong key does not hide what is wrong elsewhere."""
    value = json.loads(json.dumps(value, default=str))  # keys and dates become text
    parsed, problems = None, [*out_of_range(value), *nameless(kind, value)]
    found = problems
    while True:
        for problem in found:
            value = _without(value, problem.field)
        try:
            # As JSON, since a strict tuple takes no Python list, but every JSON array.
            parsed = _Box[kind].model_validate_json(json.dumps({"value": value})).value  # type: ignore[valid-type]
        except ValidationError as error:
            found = [problem for problem in problems_in(kind, value, error) if _is_news(problem, problems)]
        if parsed is not None or not found:
            return parsed, problems
        problems = [*problems, *found]


def _is_news(problem: Problem, known: Iterable[Problem]) -> bool:
    """Tell a problem of its own from a consequence of having taken a wrong key away.

    Consequences are at its key, above or below it, and beside it where the dataclass has made all its checks already.
    """
    field = f"{problem.field}."
    for one in known:
        if field.startswith(f"{one.field}.") or f"{one.field}.".startswith(field):
            return False
        if not isinstance(one, KeyProblem) and field.startswith(f"{one.field.rpartition('.')[0]}."):
            return False
    return True


def _without(value: Any, field: str) -> Any:
    """Copy a block without a dotted key. An element takes its list along: the numbers of the others must stay right."""
    if isinstance(value, list):
        return [_without(inner, field.removeprefix(f"{n}.")) if field.startswith(f"{n}.") else inner
                for n, inner in enumerate(value)]  # fmt: skip
    if not isinstance(value, dict):
        return value
    left = {}
    for key, inner in value.items():
        below = field.removeprefix(f"{key}.")
        if field == key or (below != field and isinstance(inner, list) and below.replace(".", "").isdigit()):
            continue
        left[key] = inner if below == field else _without(inner, below)
    return left


def render(where: str, problems: list[Problem]) -> str:
    """Write the message of a `ConfigError`."""
    count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = [f"  {p.field}: {_shown(p.value)} - {p.advice}" for p in problems]
    return "\n".join([f"{where}: {count}", *lines])


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
