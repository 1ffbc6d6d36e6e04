"""What a driver does about failed trials: which are retried, and when the whole run is given up.

A trial is retried up to ``run.max_attempts`` times, less often if another attempt cannot help. The
run is given up when every trial of the smallest shard fails: the cause is then not in a trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from steep.contracts.executor import Event, Kind
from steep.contracts.planner import TrialRequest
from steep.records import Measurement, Status

FAILED = (Status.FAILED, Status.TIMEOUT)
FAILURES = (Kind.FAILURE, Kind.LOST)
"""Events that end an attempt without a result."""
_OOM_ATTEMPTS = 2
"""A trial that runs out of memory may have lacked it because of other trials; one that does so
twice is too large."""
_LAST_LINES = 6
"""Lines of a traceback that are shown when every trial fails."""


def cause(event: Event) -> str:
    """The cause of a failure: 'error', 'oom', 'timeout', 'start', 'data', 'answer' (an invalid
    result of the user's code) or 'changed' (the study began with other code); else ''."""
    return str(event.payload.get("cause", "")) if event.kind in FAILURES else ""


def counts(event: Event) -> bool:
    """Whether an event is a failure that counts as one of its trial's attempts."""
    return event.kind in FAILURES and not event.payload.get("killed")


def without_blame(event: Event, stopping: bool) -> Event:
    """Mark a failure that is not the trial's fault, so that it does not count as one of its
    attempts: no worker could start, the data changed, or a stop request ended the worker."""
    if event.kind not in FAILURES:
        return event
    if cause(event) in ("start", "data") or (stopping and cause(event) != "timeout"):
        return replace(event, payload={**event.payload, "killed": True})
    return event


def final_status(event: Event, attempts: int, max_attempts: int) -> tuple[Status, str] | None:
    """The status of a trial that is not retried after this failure, and the reason; None if it is
    retried, or if the event is no failure of the trial. ``attempts`` counts this one."""
    if not counts(event):
        return None
    status, limit = Status.FAILED, max_attempts
    if cause(event) == "oom":
        limit = min(limit, _OOM_ATTEMPTS)
    elif cause(event) == "answer":  # the user's code would return the same again
        limit = 1
    elif cause(event) == "timeout":
        status, limit = Status.TIMEOUT, 1
    if attempts < limit:
        return None
    reason = str(event.payload["reason"])
    return status, f"{reason} (attempt {attempts} of {limit})" if attempts > 1 else reason


class Failures:
    """The failed trials of one run, by id."""

    def __init__(self) -> None:
        self.succeeded = False
        """Whether any trial of the study has ended without failing."""
        self._first: set[str] | None = None
        """The smallest shard's trials that were requested first."""
        self._last: dict[str, dict[str, Any]] = {}
        """The last failure of each trial that failed."""
        self._given_up: set[str] = set()
        """Trials whose last attempt failed: they are not tried again."""

    def requested(self, requests: Sequence[TrialRequest]) -> None:
        """Note the smallest shard's trials among those requested first."""
        if self._first is None and requests:
            smallest = min(request.trial.samples for request in requests)
            self._first = {r.trial.id for r in requests if r.trial.samples == smallest}

    def finished(self, measurements: Sequence[Measurement]) -> None:
        """Note whether a trial has succeeded."""
        self.succeeded = self.succeeded or any(m.status not in FAILED for m in measurements)

    def give_up(self, trial: str) -> None:
        """Note that the trial's last attempt has failed."""
        self._given_up.add(trial)

    def failed(self, event: Event) -> None:
        """Note a failure that counts, once it is recorded."""
        if event.kind == Kind.FAILURE or event.trial in self._given_up:
            self._last[event.trial] = event.payload

    @property
    def doubtful(self) -> bool:
        """Whether trials have failed and none has succeeded."""
        return bool(self._last and not self.succeeded)

    def order(self, request: TrialRequest) -> tuple[bool, bool, float]:
        """The queue's order while ``doubtful``: the smallest shard's trials that were not tried
        yet, then their retries, then the rest."""
        trial = request.trial
        return trial.id not in (self._first or ()), trial.id in self._last, trial.samples

    def hopeless(self) -> bool:
        """Whether no trial has succeeded, all of the smallest shard have failed, and one of them
        in its last attempt: failures that a retry cures do not count."""
        if not self._first or self.succeeded:
            return False
        return self._first <= self._last.keys() and bool(self._given_up & self._first)

    def most_frequent(self) -> str:
        """The most frequent reason of failure, with the last lines of its traceback."""
        payloads = list(self._last.values())
        reasons = [str(payload["reason"]) for payload in payloads]
        most = max(dict.fromkeys(reasons), key=reasons.count)
        same = reasons.count(most)
        head = f"every trial failed, {same} of {len(reasons)} with: {most}"
        detail = next((p.get("detail") for p in payloads if p["reason"] == most), None)
        lines = (detail or "").rstrip().splitlines()[-_LAST_LINES:]
        return "\n".join([head, *(f"    {line}" for line in lines)])
