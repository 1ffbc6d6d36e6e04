"""Records as JSON text and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from typing import Any, TypeVar

Record = TypeVar("Record")


@cache
def _adapter(cls: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def encode(record: Any) -> str:
    """A record as JSON text. Raises ValueError on NaN or infinity."""
    return json.dumps(asdict(record), allow_nan=False, separators=(",", ":"))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no valid number in a record")


def decode(cls: type[Record], text: str) -> Record:
    """The record back from ``encode``'s text; ValueError on any other shape, NaN or infinity."""
    if "NaN" in text or "Infinity" in text:
        json.loads(text, parse_constant=_refuse)
    kind: Any = cls
    record: Record = _adapter(kind).validate_json(text)
    return record
