"""What a worker sends, in a form that the store can keep: real numbers, texts of some length."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from steep.contracts.executor import Event, Kind, printable
from steep.records import Measurement, Trial, encode
from steep.store.folder import failure_file

_FAILURES = (Kind.FAILURE, Kind.LOST)
_CUT = 300
"""Characters of a failure's reason; the rest is in a file."""
_DETAIL = 20_000
"""Characters of its traceback that are kept in the database."""


def recordable(event: Event, trial: Trial) -> Event:
    """A result that cannot be recorded is a failure of the trainer, told as one; a reason is one
    that can be printed, with the rest of it beside."""
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
    """A failure's payload with a short reason and detail, and the ``whole`` text where they were
    longer, which the store keeps in a file."""
    reason, detail = payload["reason"], payload.get("detail") or ""
    if len(reason) <= _CUT and len(detail) <= _DETAIL:
        return payload
    file = failure_file(event.trial, event.attempt)
    if len(reason) > _CUT:
        payload["reason"] = f"{reason[:_CUT]} [...] (whole in {file})"
    if len(detail) > _DETAIL:
        payload["detail"] = f"{detail[: _DETAIL // 2]}\n[...]\n{detail[-_DETAIL // 2 :]}"
    return payload | {"whole": f"{reason}\n{detail}"}
