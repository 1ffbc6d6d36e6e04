"""A worker on another machine: takes trials from a mailbox until its time is near its end.

``steep worker --job FILE`` runs it, in a Slurm job or whatever an engine has started; it needs only
the shared folder that FILE is in. It imports once, then forks a process per job, as the local
executor does. SIGUSR1 and SIGTERM mean that the engine wants the machine back: what runs is saved
and given back, and nothing more is taken.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.metadata
import json
import os
import platform
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from steep.contracts.executor import Event, Job, Kind
from steep.executors import worker
from steep.executors.forkserver import NO_START, die_first, die_with_parent
from steep.executors.local import how_it_ended, with_output
from steep.executors.mailbox import OVER, Gone, Mailbox, pack
from steep.store.folder import StoreError
from steep.store.recordable import recordable

STOPS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_LOOK, _LOOK_IDLE = 0.02, 1.0
"""Seconds between looks at the queue: the first after a job, and the longest."""
_ORDERS = 1.0
"""Seconds between looks at the orders of the job that runs."""
_FLUSH = 0.25
"""Seconds for which events are gathered into a message; an attempt's last one goes at once."""
_FULL = 2.0
"""Seconds after which a last event that could not be written is tried again."""
_KILL = 30.0
"""Seconds that a trial has to save itself at least, once the machine is wanted back."""


def versions() -> dict[str, str]:
    """What driver and workers must agree on: steep and torch, as they are installed here."""
    found = {}
    for name in ("steep", "torch"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def serve(file: Path) -> str | None:
    """Work for the session whose ``worker.json`` is ``file``, to its end; the reason if this worker
    cannot, which the driver learns as well."""
    try:
        about = json.loads(file.read_bytes())
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}: does this machine see the study's folder?"
    except ValueError:
        return f"{file} is not the job file of a session"
    pilot = Pilot(Mailbox(file.resolve().parent), about)
    problem = _mismatch(about["versions"], versions())
    with contextlib.suppress(Gone):
        pilot.announce(problem)
        if problem is None:
            pilot.run()
    return problem


def _mismatch(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str | None:
    """Why results of this worker could differ from the driver's; None where they could not."""
    for name, version in theirs.items():
        if ours.get(name) != version:
            here = f"has {name} {ours[name]}" if name in ours else f"has no {name}"
            return f"{platform.node()} {here}, the driver {version}: install the same one there"
    return None


@dataclass
class _Child:
    """A forked process and the job that it runs."""

    pid: int
    name: str
    jobs: tuple[Job, ...]
    ends: int
    """Reading end of a pipe: two bytes, its place in the job, when an attempt has reported its
    end."""
    output: IO[bytes]
    stopping: float | None = None
    """When it was requested to stop."""

    def reported(self) -> set[int]:
        """The places of the attempts that have reported how they ended."""
        try:
            data = os.read(self.ends, 4096)
        except BlockingIOError:
            return set()
        return {int.from_bytes(data[i : i + 2]) for i in range(0, len(data), 2)}


@dataclass
class Pilot:
    """The worker's own process, which forks the others and has no thread."""

    box: Mailbox
    about: Mapping[str, Any]
    name: str = ""
    began: float = field(default_factory=time.monotonic)
    wanted_back: bool = False
    """The engine, or the end of the walltime, asks for the machine."""

    def announce(self, problem: str | None) -> None:
        """Tell that this worker has begun, where, and with what. Its name is its place in the
        engine, a number that grows as the engine starts it again, and what nobody else has."""
        place = os.environ.get("STEEP_WORKER", "worker")
        again = sum(name.partition(".")[0] == place for name in self.box.names("workers"))
        self.name = f"{place}.{again + 1}.{secrets.token_hex(4)}"
        self.box.write(
            f"workers/{self.name}",
            {"where": _where(), "versions": versions(), "problem": problem},
        )

    def run(self) -> None:
        """Take jobs until none comes for long, the time is over, or the driver says so."""
        for number in STOPS:
            signal.signal(number, self._hear)
        self._warm()
        idle, pause = time.monotonic(), _LOOK
        while not self.is_over() and time.monotonic() - idle < self.about["idle"]:
            if self.box.ordered() == "end":
                break
            job = self.box.take(self.name)
            if job is None:
                time.sleep(pause)
                pause = min(1.5 * pause, _LOOK_IDLE)
                continue
            self._see_through(self._fork(*job))
            idle, pause = time.monotonic(), _LOOK
        self.box.leave(self.name)

    def is_over(self) -> bool:
        walltime = self.about["walltime"]
        if walltime is not None:
            near = time.monotonic() - self.began > walltime - self.about["grace"]
            self.wanted_back = self.wanted_back or near
        return self.wanted_back

    def _hear(self, *_: object) -> None:
        self.wanted_back = True

    def _warm(self) -> None:
        """Import and read once what every job needs. What goes wrong goes wrong again in the
        job's own process, which reports to the driver."""
        sys.path += [entry for entry in self.about["path"] if entry not in sys.path]
        with contextlib.suppress(Exception):
            for name in self.about["preload"]:
                importlib.import_module(name)
        with contextlib.suppress(Exception):
            worker.opened(self.box.site).warm()
        gc.collect()
        gc.freeze()

    # ------------------------------------------------------------ one job

    def _fork(self, name: str, jobs: tuple[Job, ...]) -> _Child:
        ends, reported = os.pipe()
        os.set_blocking(ends, False)
        output = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the job has ended)
        problem = ""
        try:
            pid = os.fork()
        except OSError as error:
            pid, problem = -1, f"no worker could be started: {error.strerror}"
        if pid == 0:
            os.close(ends)
            _run_child(self, name, jobs, reported, output)
        os.close(reported)
        child = _Child(pid, name, jobs, ends, output)
        if problem:
            self._tell_lost(child, {"reason": problem, "cause": "start"})
        return child

    def _see_through(self, child: _Child) -> None:
        """Wait for a job's process, obeying orders; report what it could not report itself."""
        status, last, pause = None, time.monotonic(), 0.002
        while child.pid > 0 and status is None:
            found, code = os.waitpid(child.pid, os.WNOHANG)
            if found:
                status = code
                break
            if self.is_over():
                self._ask_to_stop(child)
            if time.monotonic() - last > _ORDERS:
                last = time.monotonic()
                try:
                    order = self.box.ordered(child.name)
                except Gone:
                    order = "kill"
                if order == "stop":
                    self._ask_to_stop(child)
                elif order:
                    _kill(child.pid)
            time.sleep(pause)
            pause = min(1.2 * pause, 0.2)
        self._kill_group(child)
        if status is not None:
            self._tell_lost(child, _how(os.waitstatus_to_exitcode(status), self.wanted_back))
        os.close(child.ends)
        child.output.close()
        self.box.release(child.name, self.name)

    def _ask_to_stop(self, child: _Child) -> None:
        now = time.monotonic()
        if child.stopping is None:
            child.stopping = now
            os.kill(child.pid, signal.SIGTERM)
        elif now - child.stopping > max(_KILL, self.about["grace"]):
            _kill(child.pid)

    def _kill_group(self, child: _Child) -> None:
        """What a job's process started ends with it."""
        if child.pid > 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)

    def _tell_lost(self, child: _Child, payload: Mapping[str, Any]) -> None:
        reported = child.reported()
        payload = with_output(dict(payload), child.output)
        silent = [job for place, job in enumerate(child.jobs) if place not in reported]
        events = [Event(Kind.LOST, job.trial.id, job.attempt, payload) for job in silent]
        if events:
            Outbox(self.box, child.name, "z").deliver(events)


def _where() -> str:
    """For people: the machine, and where in its engine that is."""
    if place := os.environ.get("STEEP_WHERE"):
        return f"{platform.node()}, {place}"
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID")
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    if job is None:
        return platform.node()
    return f"{platform.node()}, Slurm job {job}{f'_{task}' if task else ''}"


def _how(code: int, wanted_back: bool) -> dict[str, Any]:
    """The payload of a job whose process ended without a word."""
    if code == NO_START:
        reason = "no worker could be started: no thread could be started"
        return {"reason": reason, "cause": "start"}
    if wanted_back:
        reason = "its machine was wanted back before it had saved"
        return {"reason": reason, "killed": True}
    return {"reason": how_it_ended(code)}


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


# ---------------------------------------------------------------- in the job's process


def _run_child(
    pilot: Pilot, name: str, jobs: tuple[Job, ...], reported: int, output: IO[bytes]
) -> None:
    code = 1
    try:
        stop_requested = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop_requested.set())
        if pilot.wanted_back:  # a signal came before this handler
            stop_requested.set()
        for number in set(STOPS) - {signal.SIGTERM}:
            signal.signal(number, signal.SIG_IGN)
        os.setsid()
        die_with_parent()
        die_first()
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        outbox = Outbox(pilot.box, name, "a", jobs, reported)
        outbox.start()
        worker.work(jobs, outbox.send, stop_requested)
        code = 0
    except Gone:
        code = 0
    except RuntimeError as error:
        code = NO_START if "can't start new thread" in str(error) else 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


class Outbox:
    """A worker's end of the mailbox, for one job."""

    def __init__(
        self,
        box: Mailbox,
        name: str,
        writer: str,
        jobs: tuple[Job, ...] = (),
        reported: int | None = None,
    ) -> None:
        self._box, self._name, self._writer, self._told = box, name, writer, reported
        self._places = {(job.trial.id, job.attempt): i for i, job in enumerate(jobs)}
        self._trials = {(job.trial.id, job.attempt): job.trial for job in jobs}
        self._events: list[Event] = []
        self._number = 0
        self._sending = threading.Lock()

    def start(self) -> None:
        """Begin to send gathered events."""
        threading.Thread(target=self._flush_for_ever, daemon=True).start()

    def send(self, event: Event) -> None:
        """Send an event: an attempt's last one is on the disk when this returns."""
        key = (event.trial, event.attempt)
        if event.kind == Kind.RESULT:
            event = recordable(event, self._trials[key])
        with self._sending:
            self._events.append(event)
            if event.kind in OVER:
                self.deliver(self._events)
                self._events = []
        if event.kind in OVER and self._told is not None:
            os.write(self._told, self._places[key].to_bytes(2))

    def deliver(self, events: list[Event]) -> None:
        """Write a message that must arrive, however long the disk is full. Raises Gone."""
        data = pack(events)
        self._number += 1
        while True:
            try:
                self._box.put_message(f"{self._name}.{self._writer}{self._number:06d}", data)
                return
            except StoreError:
                time.sleep(_FULL)

    def _flush_for_ever(self) -> None:
        while True:
            time.sleep(_FLUSH)
            with self._sending:
                events, self._events = self._events, []
                if not events:
                    continue
                try:
                    self._flush(events)
                except StoreError:  # later: the trial goes on meanwhile
                    self._events = [e for e in events if e.kind != Kind.HEARTBEAT]
                except Gone:
                    os._exit(0)

    def _flush(self, events: list[Event]) -> None:
        if all(event.kind == Kind.HEARTBEAT for event in events):
            self._box.put_message(f"{self._name}.{self._writer}.beat", pack(events), flush=False)
            return
        data = pack([event for event in events if event.kind != Kind.HEARTBEAT])
        name = f"{self._name}.{self._writer}{self._number + 1:06d}"
        self._box.put_message(name, data, flush=False)
        self._number += 1
