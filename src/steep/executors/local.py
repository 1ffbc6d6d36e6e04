"""Local: a process per trial (or pack of them) here, forked from a server that has torch imported.

One thread each: on a CPU two single-threaded trials finish sooner than one with two threads. Where
there are GPUs, each worker sees one of them. A killed worker costs its own trials an attempt and
nobody else anything.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

from steep.base.control_groups import MEMBERSHIP, ROOT, groups, out_of_memory_kills
from steep.base.registry import TRAINERS
from steep.contracts.executor import Event, Job, Kind
from steep.contracts.trainer import Trainer
from steep.executors.forkserver import NO_START, STOPS, request
from steep.spec.load import member
from steep.spec.sections import Run, Strict
from steep.store.folder import StoreError, read_spec

_THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": 1 << 25, "MALLOC_TRIM_THRESHOLD_": 1 << 30}
"""glibc gives large buffers back and faults them in again at every step unless configured
otherwise."""
_OVER = (Kind.RESULT, Kind.FAILURE, Kind.DRAINED)
_TAIL = 4000
"""Bytes of a worker's output that are kept when it fails."""


class Options(Strict):
    """None."""


class NoStart(Exception):
    """No process or thread is to be had just now."""


def open_executor(folder: Path, run: Run, trainer: Trainer | None = None) -> Local:
    """Workers for the study in ``folder``: one a GPU, or a core where none is used, unless
    ``run.workers`` says otherwise.

    Raises StoreError where processes cannot be forked, or for a ``trainer`` that only lives in
    this process: workers find theirs by name, in the study's spec."""
    if not hasattr(os, "fork"):
        raise StoreError("this system cannot fork workers: use `run: {executor: inline}`")
    if trainer is not None:
        raise StoreError("a function of this process runs with `executor: inline` only")
    name = read_spec(folder).spec.trainer.name
    preload = tuple(getattr(member(TRAINERS, name), "PRELOAD", ()))
    found = devices(run)
    local = Local(folder, run.workers or len(found) or cpus(), preload, found)
    local.warm()
    return local


def slots(run: Run) -> int:
    """Workers at a time."""
    return run.workers or len(devices(run)) or cpus()


def devices(run: Run) -> tuple[str, ...]:
    """The GPUs that workers get one of each, as CUDA_VISIBLE_DEVICES names them; () where the spec
    names another device, or a certain one."""
    return gpus() if run.device in ("auto", "cuda") else ()


def gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them: all of those that it
    lists up to the first that is none, else what the driver's own tool lists."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        names = [name.strip() for name in allowed.split(",")]
        return tuple(itertools.takewhile(lambda name: name and not name.startswith("-"), names))
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    found = re.findall(r"\(UUID: ((?:GPU|MIG)-[^)]+)\)", listed.stdout)
    parts = [name for name in found if name.startswith("MIG")]  # of a GPU that is cut into parts
    return tuple(parts or found)


def environment(threads: int = 1) -> tuple[dict[str, str], dict[str, str]]:
    """What a worker's process must be started with: how memory is allocated, which the user's own
    environment may override, and how many threads it has, which it may not."""
    allocation = {name: str(value) for name, value in _MALLOC.items()}
    return allocation, {f"{name}_NUM_THREADS": str(threads) for name in _THREADS}


def cpus() -> int:
    """Cores that this process may use: by affinity and by the container's quota."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = _quota()
    return max(1, min(count, round(quota)) if quota else count)


def _quota(root: Path = ROOT, membership: Path = MEMBERSHIP) -> float | None:
    """Cores that the control group grants, the tightest of its ancestors'; None: no limit."""
    found = []
    for home in groups("cpu", root, membership):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (home / "cpu.max").read_text().split()
            found.append(float(quota) / float(period))
        with contextlib.suppress(OSError, ValueError):
            quota = (home / "cpu.cfs_quota_us").read_text()
            period = (home / "cpu.cfs_period_us").read_text()
            if float(quota) > 0:
                found.append(float(quota) / float(period))
    return min(found, default=None)


@dataclass
class _Worker:
    """The driver's side of one worker."""

    jobs: tuple[Job, ...]
    server: socket.socket
    ours: socket.socket
    line: Connection
    output: IO[bytes]
    ended: set[tuple[str, int]] = field(default_factory=set)
    """Attempts whose end it has reported."""
    given_up: set[tuple[str, int]] = field(default_factory=set)
    code: int | None = None
    no_start: str = ""
    """Why it could not be started."""
    gpu: str | None = None
    """The one that it sees; None: it sees what this process sees."""
    gone: threading.Event = field(default_factory=threading.Event)

    def close(self) -> None:
        self.line.close()
        self.ours.close()
        self.output.close()

    @property
    def attempts(self) -> list[tuple[str, int]]:
        return [(job.trial.id, job.attempt) for job in self.jobs]


class Local:
    """See contracts/executor.py. A thread per worker reads what it sends, so that one that
    stops in the middle of a message holds up nobody."""

    def __init__(
        self, folder: Path, slots: int, preload: tuple[str, ...] = (), gpus: tuple[str, ...] = ()
    ) -> None:
        self.slots = slots
        self._folder, self._preload, self._gpus = folder, preload, gpus
        self._events: queue.Queue[Event] = queue.Queue()
        self._workers: dict[int, _Worker] = {}
        self._numbers = itertools.count(1)
        self._oom_kills = out_of_memory_kills()
        """Those that are accounted for."""
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def warm(self) -> None:
        """Start the server now: it imports while the driver still plans."""
        with contextlib.suppress(NoStart, OSError):  # reported when a worker is needed
            self._served()

    def start(self, *jobs: Job) -> None:
        """Where nothing can be started, the events say so, with the cause 'start'."""
        try:
            self._start(*jobs)
        except (NoStart, OSError) as error:
            for job in jobs:
                reason = f"no worker could be started: {_said(error)}"
                payload = {"reason": reason, "cause": "start"}
                self._events.put(Event(Kind.LOST, job.trial.id, job.attempt, payload))

    def _start(self, *jobs: Job) -> None:
        control = self._served()
        ours, theirs = socket.socketpair()
        line = Connection(os.dup(ours.fileno()))
        output = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
        worker = _Worker(jobs, control, ours, line, output, gpu=self._free_gpu())
        number = next(self._numbers)
        self._workers[number] = worker
        try:
            threading.Thread(target=self._hear, args=(number, worker), daemon=True).start()
        except RuntimeError as error:
            del self._workers[number]
            theirs.close()
            worker.close()
            raise NoStart(str(error)) from None
        seen = {} if worker.gpu is None else {"CUDA_VISIBLE_DEVICES": worker.gpu}
        worker.line.send((jobs, seen))
        descriptors = [theirs.fileno(), worker.output.fileno()]
        with contextlib.suppress(OSError):  # a server that is gone: its listener reports it
            socket.send_fds(control, [request("fork", number)], descriptors)
        theirs.close()

    def _free_gpu(self) -> str | None:
        """The GPU with the fewest workers."""
        used = [worker.gpu for worker in list(self._workers.values())]
        return min(self._gpus, key=used.count, default=None)

    def poll(self, timeout: float) -> list[Event]:
        events = []
        try:
            events.append(self._events.get(timeout=timeout))
            while True:
                events.append(self._events.get_nowait())
        except queue.Empty:
            return events

    def ask_to_stop(self) -> None:
        for worker in list(self._workers.values()):
            with contextlib.suppress(OSError):
                worker.line.send("stop")

    def kill(self, trial: str, attempt: int) -> None:
        for number, worker in list(self._workers.items()):
            if (trial, attempt) in worker.attempts:
                worker.given_up.add((trial, attempt))
                self._end(number, worker)
                worker.gone.wait(5.0)

    def close(self) -> None:
        """End the server; it takes its workers with it."""
        idle = not self._workers
        for worker in list(self._workers.values()):
            worker.given_up.update(worker.attempts)
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)
        if self._server is not None:
            try:
                self._server.wait(0.0 if idle else 1.0)
            except subprocess.TimeoutExpired:  # it may still be importing
                self._server.kill()
                self._server.wait()
            self._server = None

    def _end(self, number: int, worker: _Worker) -> None:
        with contextlib.suppress(OSError):
            worker.server.sendall(request("kill", number))

    # ------------------------------------------------------------ the server

    def _served(self) -> socket.socket:
        """The line to the server, which is started when first needed and when it has died."""
        if self._control is not None and self._server is not None and self._server.poll() is None:
            return self._control
        if self._server is not None:  # it has closed its line: its process is about to end
            self._server.kill()
            self._server.wait()
            self._server = None
        ours, theirs = socket.socketpair()
        path = [entry or os.getcwd() for entry in sys.path]
        code = (
            f"import sys; sys.path[:] = {path!r}; from steep.executors.forkserver import serve; "
            f"serve({theirs.fileno()}, {str(self._folder.resolve())!r}, {self._preload!r})"
        )
        allocation, threads = environment()
        # Blocked until it can say what a stop request means to it, which it inherits.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            self._server = subprocess.Popen(
                [sys.executable, "-c", code],
                env={**allocation, **os.environ, **threads},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            threading.Thread(target=self._attend, args=(ours,), daemon=True).start()
        except (RuntimeError, OSError) as error:
            ours.close()
            if self._server is not None:
                self._server.kill()
                self._server.wait()
                self._server = None
            raise NoStart(_said(error)) from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        self._control = ours
        return ours

    def _attend(self, control: socket.socket) -> None:
        """Read a server's answers; its end is the end of all its workers."""
        with contextlib.suppress(OSError), control.makefile("r") as answers:
            for answer in answers:
                verb, number, value = answer.split()
                if verb == "exited":
                    self._ended(int(number), int(value))
                elif verb == "failed":
                    if int(number) in self._workers:
                        self._workers[int(number)].no_start = os.strerror(int(value))
                    self._ended(int(number), None)
        # Before its workers are reported lost: a server may have closed its line and not yet be a
        # process that has ended, and who starts the next worker must not be sent to it.
        if self._control is control:
            self._control = None
        for known, worker in list(self._workers.items()):
            if worker.server is control:
                self._ended(known, None)
        control.close()

    def _ended(self, number: int, code: int | None) -> None:
        worker = self._workers.pop(number, None)
        if worker is None:
            return
        worker.code = code
        # What it sent before it died can still be read, but a grandchild that holds the other end
        # does not keep the line open. Only afterwards may its listener close the line.
        with contextlib.suppress(OSError):
            worker.ours.shutdown(socket.SHUT_RD)
        worker.gone.set()

    # ------------------------------------------------------------ the workers

    def _hear(self, number: int, worker: _Worker) -> None:
        """Pass on what a worker says until its line ends, then say how it ended if it did not."""
        try:
            while True:
                event = worker.line.recv()
                if event.kind in _OVER:
                    worker.ended.add((event.trial, event.attempt))
                self._pass_on(worker, event)
        except (EOFError, OSError):
            worker.gone.wait()
            garbled = ""
        except Exception as error:  # what it sent cannot be read: steep changed under the run
            garbled = f"what the worker sent cannot be read: {error}"
            self._end(number, worker)
            worker.gone.wait()
        payload: dict[str, Any] = {"reason": garbled} if garbled else self._how(worker)
        if worker.given_up:
            payload = {"reason": "another trial of its pack was ended", "killed": True}
        for trial, attempt in worker.attempts:
            if (trial, attempt) not in worker.ended:
                self._pass_on(worker, Event(Kind.LOST, trial, attempt, payload))
        worker.close()

    def _how(self, worker: _Worker) -> dict[str, Any]:
        """The payload of a worker that ended without a word."""
        code = worker.code
        if worker.no_start or code == NO_START:
            why = worker.no_start or "no thread could be started"
            return {"reason": f"no worker could be started: {why}", "cause": "start"}
        if code is None:
            reason = "the worker died with the process that starts workers"
            return {"reason": reason, "cause": "start"}
        reason = how_it_ended(code)
        if -code in STOPS:
            return {"reason": reason, "killed": True}
        if -code == signal.SIGKILL and out_of_memory_kills() > self._oom_kills:
            self._oom_kills += 1
            return {
                "reason": f"oom: the kernel ended it for want of memory ({reason})",
                "cause": "oom",
            }
        return {"reason": reason}

    def _pass_on(self, worker: _Worker, event: Event) -> None:
        """Forward an event to the driver unless its attempt was given up. A failure carries what
        the worker printed."""
        if (event.trial, event.attempt) in worker.given_up:
            return
        if event.kind in (Kind.FAILURE, Kind.LOST):
            event = replace(event, payload=with_output(event.payload, worker.output))
        self._events.put(event)


def with_output(payload: dict[str, Any], output: IO[bytes]) -> dict[str, Any]:
    """The last that a failed worker printed, beside its traceback."""
    size = os.fstat(output.fileno()).st_size
    tail = os.pread(output.fileno(), _TAIL, max(0, size - _TAIL)).decode(errors="replace").strip()
    if not tail:
        return payload
    detail = payload.get("detail", "")
    return {**payload, "detail": f"{detail}\nThe end of what it printed:\n{tail}".strip()}


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def how_it_ended(code: int) -> str:
    """How a worker ended that did not say so itself."""
    if code >= 0:
        return f"the worker ended without a word, exit code {code}"
    name = signal.Signals(-code).name if -code in {s.value for s in signal.Signals} else ""
    hint = ", perhaps out of memory" if -code == signal.SIGKILL else ""
    return f"the worker was killed by signal {-code} ({name}{hint})"
