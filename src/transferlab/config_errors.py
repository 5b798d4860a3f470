"""From pydantic's errors to problems a user can act on: one per wrong key, with its value and a suggestion."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError

from transferlab.core.problems import FieldProblems, Problem, did_you_mean


def problems_in(kind: Any, value: Any, error: ValidationError) -> list[Problem]:
    """One problem per wrong key: of a union, only what is wrong with the alternative that was meant."""
    found: dict[tuple[Any, ...], dict[str, list[Problem]]] = {}
    for item in error.errors(include_url=False):
        item["loc"] = item["loc"][1:]  # without the box
        path, union = _path(value, item["loc"])
        fork, tag = union or (path, "")
        found.setdefault(fork, {}).setdefault(tag, []).extend(_translate(kind, item, path))
    return [problem for alternatives in found.values() for problem in _meant(alternatives)]


def _path(value: Any, loc: tuple[int | str, ...]) -> tuple[tuple[Any, ...], tuple[tuple[Any, ...], str] | None]:
    """The keys of `loc` that are in the data, and where and how a union was entered, if one was."""
    path: list[Any] = []
    union: tuple[tuple[Any, ...], str] | None = None
    for number, part in enumerate(loc):
        if (isinstance(value, dict) and part in value) or (isinstance(value, list) and part in range(len(value))):
            value = value[part]
        elif number < len(loc) - 1 or not isinstance(value, dict):
            union = union or (tuple(path), str(part))
            continue
        path.append(part)
    return tuple(path), union


def _meant(alternatives: dict[str, list[Problem]]) -> list[Problem]:
    """The alternative of a union whose `name` fits; if none's does, one problem that lists the names."""
    if len(alternatives) == 1:
        return next(iter(alternatives.values()))
    named = {tag: [p for p in problems if p.field.endswith(".name")] for tag, problems in alternatives.items()}
    fitting = [problems for tag, problems in alternatives.items() if not named[tag]]
    if fitting and len(fitting) < len(alternatives):
        return min(fitting, key=len)
    wrong = [problem for problems in named.values() for problem in problems]
    if wrong:
        names = sorted({name for problem in wrong for name in problem.message.removeprefix("must be ").split(" or ")})
        return [
            Problem(
                wrong[0].field,
                wrong[0].value,
                f"must be one of {', '.join(names)}" + did_you_mean(str(wrong[0].value), names),
            )
        ]
    first = next(iter(alternatives.values()))[0]
    rules = dict.fromkeys(p.message for problems in alternatives.values() for p in problems)
    return [Problem(first.field, first.value, " or ".join(rules))]


def _translate(kind: Any, item: Any, path: tuple[Any, ...]) -> Iterator[Problem]:
    dotted = ".".join(map(str, path))
    error = item.get("ctx", {}).get("error")
    if isinstance(error, FieldProblems):
        for problem in error.problems:
            yield dataclasses.replace(problem, field=f"{dotted}.{problem.field}".lstrip("."))
    elif item["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _fields(_type_at(kind, item["loc"][:-1]))
        yield Problem(
            dotted,
            item["input"],
            "unknown key" + (did_you_mean(str(path[-1]), known) or f"; the keys here are {', '.join(known)}"),
        )
    elif item["type"] in ("missing", "missing_argument"):
        yield Problem(dotted, None, "is missing; it must be given")
    elif item["type"] == "literal_error":
        expected = item["ctx"]["expected"].replace("'", "")
        known = expected.replace(" or ", ", ").split(", ")
        yield Problem(dotted, item["input"], f"must be {' or '.join(known)}" + did_you_mean(str(item["input"]), known))
    else:
        yield Problem(dotted, item["input"], item["msg"].replace("Input should", "must").replace("Value error, ", ""))


def _type_at(kind: Any, loc: tuple[int | str, ...]) -> Any:
    """The type that `loc` leads to, through fields, mappings, sequences and unions (whose part is a class's name)."""
    for part in loc:
        members = [m for m in _members(kind) if m is not type(None)]
        named = [m for m in members if getattr(m, "__name__", "") == part]
        if named:
            kind = named[0]
            continue
        kind = members[0]
        arguments = get_args(kind)
        kind = arguments[-1 if get_origin(kind) is dict else 0] if arguments else _fields(kind).get(str(part), object)
    return next(m for m in _members(kind) if m is not type(None))


def _members(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _fields(kind: Any) -> dict[str, Any]:
    """Names and types of the fields of a dataclass or model."""
    if not (dataclasses.is_dataclass(kind) or (isinstance(kind, type) and issubclass(kind, BaseModel))):
        return {}
    hints = get_type_hints(kind, include_extras=True)
    names = kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else kind.__dataclass_fields__
    return {name: hints[name] for name in names}
