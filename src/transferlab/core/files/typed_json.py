"""Turns JSON that somebody may have changed into dataclasses, or says which value has the wrong type."""

from __future__ import annotations

import dataclasses
import types
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "an object"}


def read_as(kind: type[T], value: Any, at: str = "") -> T:
    """Return a JSON value as an instance of `kind`, checked all the way down.

    Keys that a dataclass does not know are ignored, so that a later version of a format may add some.

    Args:
        kind: a dataclass whose fields are text, numbers, booleans, literals, tuples, dictionaries with text as keys,
            optional values or dataclasses.
        value: what `json.loads` gave.
        at: dotted key of the value, for messages.

    Raises:
        ValueError: a key is missing or a value has another type; names the key.
    """
    result: T = _read(kind, value, at)
    return result


def _read(kind: Any, value: Any, at: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        others = [member for member in arguments if member is not types.NoneType]
        return None if value is None and len(others) < len(arguments) else _read(others[0], value, at)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, at)
    if origin is Literal:
        return _checked(value in arguments, value, at, f"one of {', '.join(map(str, arguments))}")
    if origin is tuple:
        return _read_tuple(arguments, value, at)
    if origin is dict:
        _checked(isinstance(value, dict), value, at, "an object")
        return {key: _read(arguments[1], inner, f"{at}.{key}") for key, inner in value.items()}
    if kind is float:
        return float(_checked(isinstance(value, int | float) and not isinstance(value, bool), value, at, "a number"))
    is_right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    return _checked(is_right, value, at, _NAMES[kind])


def _read_dataclass(kind: Any, value: Any, at: str) -> Any:
    _checked(isinstance(value, dict), value, at, "an object")
    hints, dot = get_type_hints(kind), "." if at else ""
    found = {}
    for field in dataclasses.fields(kind):
        key = f"{at}{dot}{field.name}"
        if field.name in value:
            found[field.name] = _read(hints[field.name], value[field.name], key)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"'{key}' is missing")
    return kind(**found)


def _read_tuple(arguments: tuple[Any, ...], value: Any, at: str) -> tuple[Any, ...]:
    _checked(isinstance(value, list | tuple), value, at, "a list")
    if arguments[-1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    _checked(len(value) == len(arguments), value, at, f"a list of {len(arguments)}")
    return tuple(_read(kind, inner, f"{at}[{i}]") for i, (kind, inner) in enumerate(zip(arguments, value, strict=True)))


def _checked(is_right: bool, value: Any, at: str, wanted: str) -> Any:
    if not is_right:
        shown = repr(value) if len(repr(value)) <= 40 else f"{repr(value)[:37]}..."
        raise ValueError(f"'{at}' must be {wanted}, not {shown}" if at else f"it must be {wanted}, not {shown}")
    return value
