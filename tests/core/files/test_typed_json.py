import dataclasses
import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferlab.core.files.typed_json import read_as


@dataclasses.dataclass(frozen=True)
class Inner:
    size: int
    mean: tuple[float, float]
    mode: Literal["a", "b"] = "a"


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    names: tuple[str, ...] = ()
    figures: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    note: str | None = None
    is_new: bool = False
    more: dict[str, Any] | None = None


FINITE = st.floats(allow_nan=False)
OUTERS = st.builds(
    Outer,
    name=st.text(),
    inner=st.builds(Inner, size=st.integers(), mean=st.tuples(FINITE, FINITE), mode=st.sampled_from("ab")),
    names=st.lists(st.text()).map(tuple),
    figures=st.dictionaries(st.text(), st.dictionaries(st.text(), FINITE)),
    note=st.none() | st.text(),
    is_new=st.booleans(),
    more=st.none() | st.dictionaries(st.text(), st.none() | st.integers() | st.lists(st.text())),
)


@given(OUTERS)
def test_what_was_written_is_read(outer):
    assert read_as(Outer, json.loads(json.dumps(dataclasses.asdict(outer)))) == outer


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": 3}, "'name' must be text, not 3"),
        ({"inner": []}, r"'inner' must be an object, not \[\]"),
        ({"inner": {"mean": [0, 1]}}, "'inner.size' is missing"),
        ({"inner": {"size": True, "mean": [0, 1]}}, "'inner.size' must be a whole number, not True"),
        ({"inner": {"size": 1, "mean": [0, "1"]}}, r"'inner\.mean\[1\]' must be a number, not '1'"),
        ({"inner": {"size": 1, "mean": [0]}}, "'inner.mean' must be a list of 2"),
        ({"inner": {"size": 1, "mean": [0, 1], "mode": "c"}}, "'inner.mode' must be one of a, b, not 'c'"),
        ({"figures": {"test": {"loss": None}}}, "'figures.test.loss' must be a number, not None"),
        ({"is_new": 1}, "'is_new' must be true or false, not 1"),
        ({"names": "ab"}, "'names' must be a list, not 'ab'"),
        ({"more": 1}, "'more' must be an object, not 1"),
    ],
)
def test_a_wrong_value_is_named(change, told):
    right = {"name": "x", "inner": {"size": 1, "mean": [0, 1]}, "unknown": "a later version's"}
    assert read_as(Outer, right).inner == Inner(1, (0.0, 1.0))
    with pytest.raises(ValueError, match=told):
        read_as(Outer, {**right, **change})


@pytest.mark.parametrize("value", [None, 3, "text", []])
def test_what_is_no_object_is_told(value):
    with pytest.raises(ValueError, match=r"^it must be an object"):
        read_as(Outer, value)
