"""Records as JSON text and back."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

Record = TypeVar("Record")


@cache
def _adapter(cls: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def encode(record: Any) -> str:
    """A record as JSON text. Raises ValueError on NaN or infinity."""
    return json.dumps(plain(record), allow_nan=False, separators=(",", ":"))


def plain(value: Any) -> Any:
    """A record as dictionaries, lists and plain values: what ``asdict`` gives, without copies."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is tuple or kind is list:
        return [plain(one) for one in value]
    if kind is dict:
        return {name: plain(one) for name, one in value.items()}
    names = _names(kind)  # type: ignore[arg-type]
    return value if names is None else {name: plain(getattr(value, name)) for name in names}


_PLAIN = (float, int, str, bool, type(None))


@cache
def _names(kind: Any) -> tuple[str, ...] | None:
    """Of a record's fields."""
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no valid number in a record")


def decode(cls: type[Record], text: str) -> Record:
    """The record back from ``encode``'s text; ValueError on any other shape, NaN or infinity."""
    if "NaN" in text or "Infinity" in text:
        json.loads(text, parse_constant=_refuse)
    kind: Any = cls
    record: Record = _adapter(kind).validate_json(text)
    return record
