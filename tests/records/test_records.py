"""Every record travels as JSON and comes back equal; NaN does not travel."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
import types
import typing
from enum import Enum
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steep import records
from steep.records import Interval, Measurement, Status, Trial, decode, encode


def modules() -> list[Any]:
    """The modules that ``records`` is made of."""
    names = {"steep.records"}
    for value in vars(records).values():
        module = getattr(value, "__module__", "") or ""
        if module.startswith("steep."):
            names.add(module)
    return [importlib.import_module(name) for name in sorted(names)]


RECORDS = sorted(
    {
        value
        for module in modules()
        for value in vars(module).values()
        if inspect.isclass(value)
        and dataclasses.is_dataclass(value)
        and value.__module__.startswith("steep.")
    },
    key=lambda cls: cls.__name__,
)

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=6)
VALUES = st.one_of(FLOATS, st.integers(-(2**53), 2**53), TEXT, st.booleans())


def of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a record's field."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if set(arguments) == {float, int, str, bool}:
        return VALUES
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(of, arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(of(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(of, arguments))
    if kind is types.NoneType:
        return st.none()
    if dataclasses.is_dataclass(kind):
        return made(kind)
    if inspect.isclass(kind) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    plain = {float: FLOATS, int: st.integers(-(2**53), 2**53), str: TEXT, bool: st.booleans()}
    return plain[kind]


def made(cls: Any) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(cls)
    return st.builds(cls, **{f.name: of(hints[f.name]) for f in dataclasses.fields(cls)})


def test_all_records_are_here() -> None:
    names = {cls.__name__ for cls in RECORDS}
    assert {"Shard", "Trial", "Measurement", "Point", "Fit", "LawFit", "Forecast"} <= names
    assert {"Analysis", "Comparison", "Backtest", "HeldOutForecast", "SizeLaw"} <= names


@pytest.mark.parametrize("cls", RECORDS, ids=lambda c: c.__name__)
def test_there_and_back(cls: Any) -> None:
    @settings(
        max_examples=8, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(made(cls))
    def check(record: Any) -> None:
        text = encode(record)
        back = decode(cls, text)
        assert back == record
        assert encode(back) == text
        assert hash(back) == hash(record)

    check()


@pytest.mark.parametrize("cls", RECORDS, ids=lambda c: c.__name__)
def test_records_are_frozen_and_told(cls: Any) -> None:
    assert cls.__dataclass_params__.frozen, "a record that can change under its reader"
    assert cls.__doc__
    assert not cls.__doc__.startswith(f"{cls.__name__}("), "no docstring of its own"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_does_not_travel(bad: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode(Interval(bad, None, None))
    for text in ("NaN", "Infinity", "-Infinity"):
        with pytest.raises(ValueError, match="valid"):
            decode(Interval, f'{{"value":{text},"lower":null,"upper":null}}')


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"value":1}', '{"value":"a","lower":1,"upper":1}']
)
def test_another_shape_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="validation error"):
        decode(Interval, text)


def test_values_keep_their_kind() -> None:
    kinds = records.settings({"a": 1, "b": 1.0, "c": True, "d": "1", "e": 1e-300})
    trial = Trial(0, 3, 3.0, 2, kinds, 1)
    back = decode(Trial, encode(trial))
    assert [type(v) for _, v in back.hyperparameters] == [int, float, bool, str, float]
    assert back.id == trial.id
    measured = Measurement(trial, Status.DIVERGED)
    assert decode(Measurement, encode(measured)).status is Status.DIVERGED


def test_an_id_is_of_the_content() -> None:
    trial = Trial(0, 3, 3.0, 2, records.settings({"b": 1, "a": 2}), 1)
    assert trial.id == Trial(0, 3, 3.0, 2, records.settings({"a": 2, "b": 1}), 1).id
    changed = {"permutation": 1, "items": 4, "samples": 3.5, "size": 3, "seed": 2}
    ids = {trial.id, *(dataclasses.replace(trial, **{k: v}).id for k, v in changed.items())}  # type: ignore[arg-type]
    assert len(ids) == 6
