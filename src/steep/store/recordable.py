"""Events of workers in a form that the store can keep: valid numbers, texts of limited length."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from steep.contracts.executor import Event, Kind, printable
from steep.records import Measurement, Trial, encode
from steep.store.folder import failure_file

_FAILURES = (Kind.FAILURE, Kind.LOST)
_CUT = 300
"""Characters of a failure's reason that the database keeps; the whole text is in a file."""
_DETAIL = 20_000
"""Characters of a failure's traceback that the database keeps."""


def recordable(event: Event, trial: Trial) -> Event:
    """The event in a form that can be stored: a result that cannot be stored becomes a failure of
    the trainer, and reasons are made printable and shortened."""
    if event.kind in (*_FAILURES, Kind.NOTE):
        payload = printable(event.payload)
        return replace(event, payload=payload if event.kind == Kind.NOTE else _cut(event, payload))
    if event.kind != Kind.RESULT:
        return event
    problem = None
    if not isinstance(event.payload, Measurement):
        problem = f"the trainer returned {type(event.payload).__name__}, not a Measurement"
    elif event.payload.trial != trial:
        problem = "the trainer returned the measurement of another trial"
    else:
        try:
            encode(event.payload)
        except (ValueError, TypeError) as error:
            problem = f"the trainer returned a measurement that cannot be kept: {error}"
    if problem is not None:
        return recordable(replace(event, kind=Kind.FAILURE, payload={"reason": problem}), trial)
    if event.payload.reason:
        (reason,) = printable({"": event.payload.reason[:_CUT]}).values()
        return replace(event, payload=replace(event.payload, reason=reason))
    return event


def _cut(event: Event, payload: dict[str, Any]) -> dict[str, Any]:
    """A failure's payload with its reason and detail shortened. If they were too long, ``whole``
    has the full text, which the store keeps in a file."""
    reason, detail = payload["reason"], payload.get("detail") or ""
    if len(reason) <= _CUT and len(detail) <= _DETAIL:
        return payload
    file = failure_file(event.trial, event.attempt)
    if len(reason) > _CUT:
        payload["reason"] = f"{reason[:_CUT]} [...] (whole in {file})"
    if len(detail) > _DETAIL:
        payload["detail"] = f"{detail[: _DETAIL // 2]}\n[...]\n{detail[-_DETAIL // 2 :]}"
    return payload | {"whole": f"{reason}\n{detail}"}
