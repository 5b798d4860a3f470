"""From pydantic's errors to problems a user can act on: one per wrong key, with its value and a suggestion."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError

from transferlab.core.validation import FieldProblems, Problem, did_you_mean

_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")


class KeyProblem(Problem):
    """A key or type that is wrong, so that the checks of the dataclass it stands in were not made."""


class _Error(NamedTuple):
    """One of pydantic's errors: its keys, the unions on the way (where, and by which alternative), what to say."""

    path: tuple[Any, ...]
    unions: tuple[tuple[tuple[Any, ...], str], ...]
    problems: list[Problem]


def problems_in(kind: Any, value: Any, error: ValidationError) -> list[Problem]:
    """Return one problem per wrong key: of a union, only what is wrong with the alternative that was meant."""
    found = []
    for item in error.errors(include_url=False):
        item["loc"] = item["loc"][1:]  # without the box
        path, unions = _path(value, item["loc"], item["type"] in _MISSING)
        found.append(_Error(path, unions, list(_translate(kind, item, path))))
    return _reduced(found, 0)


def nameless(kind: Any, value: Any, field: str = "", usual: Any = None) -> Iterator[Problem]:
    """Yield the objects without the `name` that tells alternatives apart: pydantic would take the first that fits.

    Args:
        kind: the type of the block.
        value: the block, as JSON has it.
        field: where it stands, dotted.
        usual: the alternative that is meant without a name, if it has all the keys.
    """
    members = [member for member in _members(kind) if member is not type(None)]
    named = {name: member for member in members for name in _names(member)}
    if isinstance(value, dict):
        if len(named) > 1 and "name" not in value and not (usual in members and value.keys() <= _fields(usual).keys()):
            yield KeyProblem(f"{field}.name", None, f"is missing; it must be one of {', '.join(sorted(named))}")
            return
        kind = named.get(str(value.get("name"))) or next((m for m in members if _fields(m) or get_args(m)), object)
        fields = _fields(kind)
        for key, inner in value.items():
            below = fields.get(key, object) if fields else (get_args(kind) or (object,))[-1]
            yield from nameless(below, inner, f"{field}.{key}".lstrip("."), _usual(kind, key))
    elif isinstance(value, list):
        of_list = next((get_args(member)[0] for member in members if get_args(member)), object)
        for number, inner in enumerate(value):
            yield from nameless(of_list, inner, f"{field}.{number}")


def _usual(kind: Any, field: str) -> Any:
    """Return the type of a field's default."""
    found = (getattr(kind, "model_fields", None) or getattr(kind, "__dataclass_fields__", {})).get(field)
    return getattr(found, "default_factory", None) or type(getattr(found, "default", None))


def _names(kind: Any) -> tuple[str, ...]:
    """Return the names by which an alternative of a union is meant."""
    name = _fields(kind).get("name")
    return get_args(name) if get_origin(name) is Literal else ()


def _reduced(errors: list[_Error], depth: int) -> list[Problem]:
    """Return what is left when of every union, from the outside in, one alternative is taken."""
    forks: dict[tuple[Any, ...], dict[str, list[_Error]]] = {}
    for error in errors:
        fork, tag = error.unions[depth] if depth < len(error.unions) else (error.path, "")
        forks.setdefault(fork, {}).setdefault(tag, []).append(error)
    problems: list[Problem] = []
    for fork, tags in forks.items():
        alternatives = {
            tag: _reduced(inside, depth + 1) if tag else [p for error in inside for p in error.problems]
            for tag, inside in tags.items()
        }
        problems += _meant(_dotted(fork), alternatives)
    return problems


def _path(
    value: Any, loc: tuple[int | str, ...], missing: bool
) -> tuple[tuple[Any, ...], tuple[tuple[tuple[Any, ...], str], ...]]:
    """Return the keys of `loc` that are in the data, or missing there, and where and how unions were entered."""
    path: list[Any] = []
    unions: list[tuple[tuple[Any, ...], str]] = []
    for number, part in enumerate(loc):
        if (isinstance(value, dict) and part in value) or (isinstance(value, list) and part in range(len(value))):
            value = value[part]
        elif number < len(loc) - 1 or not missing:
            unions.append((tuple(path), str(part)))
            continue
        path.append(part)
    return tuple(path), tuple(unions)


def _meant(fork: str, alternatives: dict[str, list[Problem]]) -> list[Problem]:
    """Choose the alternative of the union at `fork` whose `name` fits; where none does, list the names."""
    of_its_kind = {tag: problems for tag, problems in alternatives.items() if all(p.field != fork for p in problems)}
    alternatives = of_its_kind or alternatives
    if len(alternatives) == 1:
        return next(iter(alternatives.values()))
    named = {tag: [p for p in problems if p.field == f"{fork}.name"] for tag, problems in alternatives.items()}
    fitting = [problems for tag, problems in alternatives.items() if not named[tag]]
    if fitting and len(fitting) < len(alternatives):
        return min(fitting, key=len)
    wrong = [problem for problems in named.values() for problem in problems]
    if wrong:
        names = tuple(sorted({name for problem in wrong for name in problem.candidates}))
        return [KeyProblem(wrong[0].field, wrong[0].value, f"must be one of {', '.join(names)}", names)]
    first = next(iter(alternatives.values()))[0]
    every = [problem for problems in alternatives.values() for problem in problems]
    rules = list(dict.fromkeys(problem.message for problem in every))
    told = " or ".join([*rules[:1], *(rule.removeprefix("must be ") for rule in rules[1:])])
    words = tuple(dict.fromkeys(word for problem in every for word in problem.candidates))
    return [KeyProblem(first.field, first.value, told, words)]


def _translate(kind: Any, item: Any, path: tuple[Any, ...]) -> Iterator[Problem]:
    dotted = _dotted(path)
    error = item.get("ctx", {}).get("error")
    if isinstance(error, FieldProblems):
        for problem in error.problems:
            yield dataclasses.replace(problem, field=f"{dotted}.{problem.field}".lstrip("."))
    elif item["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _fields(_type_at(kind, item["loc"][:-1]))
        cure = "" if did_you_mean(str(path[-1]), known) else f"; the keys here are {', '.join(known)}"
        # The candidates are for the key, not for its value.
        yield KeyProblem(dotted, item["input"], f"unknown key{cure}{did_you_mean(str(path[-1]), known)}")
    elif item["type"] in _MISSING:
        yield KeyProblem(dotted, None, "is missing; it must be given")
    elif item["type"] == "literal_error":
        words = get_args(_type_at(kind, item["loc"]))
        yield KeyProblem(dotted, item["input"], f"must be {' or '.join(words)}", words)
    else:
        # Pydantic's sentences begin so; an error of our own carries its text.
        yield KeyProblem(dotted, item["input"], str(error) if error else item["msg"].replace("Input should", "must"))


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


def _type_at(kind: Any, loc: tuple[int | str, ...]) -> Any:
    """Return the type at `loc`, through fields, mappings, sequences and unions (whose part is a class's name)."""
    for part in loc:
        members = [m for m in _members(kind) if m is not type(None)]
        named = [m for m in members if _is_named(m, part)]
        if named:
            kind = named[0]
            continue
        kind = members[0]
        arguments = get_args(kind)
        kind = arguments[-1 if get_origin(kind) is dict else 0] if arguments else _fields(kind).get(str(part), object)
    return next(m for m in _members(kind) if m is not type(None))


def _is_named(member: Any, part: int | str) -> bool:
    """Check whether pydantic calls an alternative of a union by this name."""
    return getattr(member, "__name__", "") == part or (
        get_origin(member) is Literal and str(part).startswith("literal[")
    )


def _members(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _fields(kind: Any) -> dict[str, Any]:
    """Return names and types of the fields of a dataclass or model."""
    if not (dataclasses.is_dataclass(kind) or (isinstance(kind, type) and issubclass(kind, BaseModel))):
        return {}
    hints = get_type_hints(kind, include_extras=True)
    names = kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else kind.__dataclass_fields__
    return {name: hints[name] for name in names}
