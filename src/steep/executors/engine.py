"""What starts workers on other machines, as the driver sees it (``remote.py``)."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from steep.executors.local import environment
from steep.executors.mailbox import Mailbox


@dataclass(frozen=True)
class State:
    """What the engine says of a worker."""

    word: str
    """'queued', 'running' or 'ended'."""
    reason: str = ""
    """Why it ended, to follow 'its worker'."""
    blame: bool = True
    """Whether the trial may have ended it, rather than the engine or a person."""
    cause: str = ""
    """As in a failure: 'oom'."""


GONE = State("ended", "is gone", blame=False)
"""Of a worker that the engine does not know."""


class Engine(Protocol):
    """What starts workers. Those of a batch are called BATCH-0, BATCH-1, ..."""

    title: str
    """Its name, for people."""

    @property
    def tells(self) -> bool:
        """Whether ``states`` shows that a worker has ended."""
        ...

    def check(self, box: Mailbox) -> None:
        """Raise StoreError where workers could not be started, before any work."""
        ...

    def submit(self, box: Mailbox, batch: str, count: int) -> Any:
        """Ask for workers; what is to be kept of it, for the calls below: a list has None for each
        worker that could not be started. Raises StoreError where none could."""
        ...

    def states(self, box: Mailbox, batches: Mapping[str, Any]) -> Mapping[str, State] | None:
        """By worker; one that the engine does not know any more has ended. None: no answer."""
        ...

    def cancel(self, box: Mailbox, batches: Mapping[str, Any], worker: str | None = None) -> None:
        """End all workers of the batches, or one."""
        ...


def worker_script(
    box: Mailbox, options: Any, worker: str, threads: int, python: str | None = None
) -> bytes:
    """The script that an engine runs: the user's own setup, then the worker. ``worker`` and
    ``python`` are words of the shell."""
    allocation, fixed = environment(threads)
    path = os.environ.get("PYTHONPATH")
    lines = ["#!/bin/bash"]
    lines += [f"export {name}={value}" for name, value in (allocation | fixed).items()]
    lines += [f"export PYTHONPATH={shlex.quote(path)}"] if path else []
    lines += [options.setup] if options.setup else []
    python = python or shlex.quote(options.python or sys.executable)
    lines += [
        f"export STEEP_WORKER={worker}",
        f"exec {python} -m steep worker --job {shlex.quote(str(box.job_file))}",
    ]
    return "\n".join([*lines, ""]).encode()
