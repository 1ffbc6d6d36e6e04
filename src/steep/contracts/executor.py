"""What an executor is: it starts workers and carries their events back. Nothing else.

A worker gets one trial and never opens the store; the driver alone records. So the same trial
runs inline, in a local process, in a Ray task or in a Slurm job.

Workers of ``inline`` and ``local`` end with their driver. Those of an engine such as Slurm outlive
it, and a later driver goes on with them: such an executor is ``Lasting``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from steep.records import Trial


@dataclass(frozen=True)
class Job:
    """One attempt at one trial."""

    folder: Path
    trial: Trial
    attempt: int
    up_to_steps: int | None = None
    packed: bool = False
    """Trained by the trainer's ``open_packed``, together with the others that its worker got."""


class Kind(StrEnum):
    QUEUED = "queued"  # payload: {}; no worker has it yet, so its lease does not run
    STARTED = "started"  # payload: {"pid": int}, 0 for a process that is not the driver's to kill
    HEARTBEAT = "heartbeat"  # payload: {}
    PROGRESS = "progress"  # payload: an Evaluation
    CHECKPOINT = "checkpoint"  # payload: {"step": int, "file": str}
    ITEMS = "items"  # payload: dict of arrays
    NOTE = "note"  # payload: {"text": str}, for the log: e.g. a corrupt checkpoint passed over
    RESULT = "result"  # payload: a Measurement
    FAILURE = "failure"  # payload: {"reason": str}; the attempt is over, a retry may follow
    DRAINED = "drained"  # payload: {"step": int}; stopped on request, resumable
    LOST = "lost"  # payload: {"reason": str}; the worker died without a word


@dataclass(frozen=True)
class Event:
    kind: Kind
    trial: str
    attempt: int
    payload: Any = None


def printable(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A payload in which names of files that are no text are written out, as a text."""
    return {
        name: value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
        for name, value in payload.items()
    }


class Executor(Protocol):
    slots: int
    """How many workers run at once."""

    def start(self, *jobs: Job) -> None:
        """One worker for them all: of several, its trainer makes a pack."""
        ...

    def poll(self, timeout: float) -> list[Event]:
        """Events since the last call; waits up to ``timeout`` seconds for the first. A call says
        that the events of the last one are recorded."""
        ...

    def ask_to_stop(self) -> None:
        """Ask every worker to checkpoint and stop."""
        ...

    def kill(self, trial: str, attempt: int) -> None:
        """End the attempt's worker now; returns when it is gone. Others in its pack are LOST, with
        "killed" in the payload. Unknown attempts are ignored."""
        ...

    def close(self) -> None:
        """End every worker now."""
        ...


@runtime_checkable
class Lasting(Protocol):
    """An executor whose workers are on other machines and outlive the driver.

    ``start`` returns once the job is on the disk where a later driver finds it. Attempts that no
    worker has yet are QUEUED, again and again, until one has STARTED them."""

    def adopt(self, attempts: Collection[tuple[str, int]]) -> list[tuple[Job, ...]]:
        """Go on with those of the ``attempts`` (trial, number) that a driver which is gone has
        started here: the jobs, by worker, whose events ``poll`` will bring. Other
        work that it left behind is ended."""
        ...
