"""Inline: trials run in this process, one after another, each in a thread of its own.

For plain callables, for tests, and for a debugger. The thread lets the driver go on recording
events and hearing Ctrl-C while a trial runs; a thread cannot be killed, so one that is given up
is left behind and what it sends is dropped.
"""

from __future__ import annotations

import queue
import threading
from pathlib import Path

from steep.contracts.executor import Event, Job
from steep.contracts.trainer import Trainer
from steep.executors.worker import work
from steep.spec.sections import Run, Strict


class Options(Strict):
    """None."""


def open_executor(folder: Path, run: Run, trainer: Trainer | None = None) -> Inline:
    """One slot; ``trainer`` replaces the one that the study's spec names."""
    return Inline(trainer)


class Inline:
    """See contracts/executor.py."""

    slots = 1

    def __init__(self, trainer: Trainer | None = None) -> None:
        self._trainer = trainer
        self._events: queue.Queue[Event] = queue.Queue()
        self._stop_requested = threading.Event()
        self._given_up: set[tuple[str, int]] = set()
        self._jobs: tuple[Job, ...] = ()
        self._thread: threading.Thread | None = None

    def start(self, *jobs: Job) -> None:
        def send(event: Event) -> None:
            if (event.trial, event.attempt) not in self._given_up:
                self._events.put(event)

        self._jobs = jobs
        self._stop_requested = threading.Event()  # an earlier wish to stop was for earlier trials
        self._thread = threading.Thread(
            target=work, args=(jobs, send, self._stop_requested, self._trainer), daemon=True
        )
        self._thread.start()

    def poll(self, timeout: float) -> list[Event]:
        events = []
        try:
            events.append(self._events.get(timeout=timeout))
            while True:
                events.append(self._events.get_nowait())
        except queue.Empty:
            return events

    def ask_to_stop(self) -> None:
        self._stop_requested.set()

    def kill(self, trial: str, attempt: int) -> None:
        self._given_up.add((trial, attempt))
        if (trial, attempt) in [(job.trial.id, job.attempt) for job in self._jobs]:
            self._stop_requested.set()  # whoever listens ends, a command for one

    def close(self) -> None:
        self._stop_requested.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)
